import { readCurrent, readManifest } from './manifest-store.js'
import type { Manifest, Superseded } from './manifest.js'
import {
  isObsoletePack, keyProblem, manifestKey, packOf, remedy, reserved, sessionOf, withoutSlash
} from './s3/keys.js'
import { listInRanges } from './s3/list-ranges.js'
import type { ObjectInfo } from './s3/list.js'
import type { ObjectStore } from './s3/object-store.js'
import { keyOf, type SavedEntry } from './transfer/entries.js'
import type { Problem } from './workspace/workspace.js'

const savesPrefix = `${reserved}saves/`

/** What is under a prefix: S3's own list, with what a manifest knows of objects that are still the same. */
export interface Remote {
  /** Entries whose objects are as the manifest says, and directories that have none. */
  tracked: Map<string, SavedEntry>
  /** By path: objects that others have put there or changed. */
  untracked: Map<string, ObjectInfo>
  /** Entries of the manifest whose objects are gone. */
  missing: Map<string, SavedEntry>
  /** By key: objects that only earlier versions may still need. */
  superseded: Map<string, Superseded>
  /** By path: when tracked objects that are at their own paths were stored. */
  storedAt: Map<string, number>
  /** By hash: packs that S3 has, and their sizes. */
  packs: Map<string, number>
  /** By id: when sessions have stored what they had seen. */
  sessions: Map<string, number>
  /** Keys of packs of an earlier format, which nothing reads any more. */
  obsoletePacks: string[]
  /** Whether there is a manifest, and all of it could be read. */
  manifest: Manifest['state']
  /** All that the manifest says, whatever S3 has. */
  recorded: ReadonlyMap<string, SavedEntry>
  /** The session that has seen all of it. */
  session: string | undefined
  /** By path: objects whose keys end in a slash, with content or beside a file of the name. They stay as they are. */
  unusable: Map<string, ObjectInfo>
  /** What a workspace cannot have: named, and left alone. */
  warnings: Problem[]
}

/** @param key of the manifest that counts; the current one unless given. @throws {S3Error} */
export async function readRemote (store: ObjectStore, key = manifestKey): Promise<Remote> {
  const isCurrent = key === manifestKey
  const reading = isCurrent ? readCurrent(store) : readManifest(store, key)
  const pages = listInRanges(store, reading.pageEnds)
  const [first, manifest] = await Promise.all([pages.next(), reading.manifest])
  const remote: Remote = {
    tracked: new Map(),
    untracked: new Map(),
    missing: new Map(),
    superseded: new Map(),
    storedAt: new Map(),
    packs: new Map(),
    sessions: new Map(),
    obsoletePacks: [],
    manifest: manifest.state,
    recorded: manifest.entries,
    session: manifest.session,
    unusable: new Map(),
    warnings: []
  }
  for (let page = first; !page.done; page = await pages.next()) {
    for (const object of page.value) {
      const path = pathOf(object.key)
      const pack = packOf(object.key)
      const session = sessionOf(object.key)
      const saved = manifest.entries.get(path)
      if (pack !== undefined) remote.packs.set(pack, object.size)
      else if (session !== undefined) remote.sessions.set(session, object.storedAt)
      else if (isObsoletePack(object.key)) remote.obsoletePacks.push(object.key)
      else if (saved !== undefined && keyProblem(path) === undefined && isObjectOf(path, saved, object)) {
        remote.tracked.set(path, saved)
        if (saved.key === undefined) remote.storedAt.set(path, object.storedAt)
      } else if (isSuperseded(manifest, object)) remote.superseded.set(object.key, manifest.superseded.get(object.key)!)
      else if (!object.key.startsWith(reserved) && object.key !== '' && isCurrent) addUntracked(remote, path, object)
    }
  }
  for (const [path, saved] of manifest.entries) {
    if (remote.tracked.has(path) || keyProblem(path) !== undefined || remote.untracked.has(path)) continue
    if (saved.type === 'directory' && saved.etag === '') remote.tracked.set(path, saved)
    else remote.missing.set(path, saved)
  }
  return remote
}

/** Where a version keeps the object of an entry: `.modal-sandbox/saves/<version>/<path>`. */
export function versionObjectKey (version: string, path: string, type: SavedEntry['type']): string {
  return `${savesPrefix}${version}/${keyOf(path, { type })}`
}

function pathOf (key: string): string {
  return withoutSlash(key.startsWith(savesPrefix) ? key.split('/').slice(3).join('/') : key)
}

/** The object of a symlink is as long as its target, that of a directory empty. */
function isObjectOf (path: string, saved: SavedEntry, { key, etag, size }: ObjectInfo): boolean {
  return keyOf(path, saved) === key && saved.etag === etag && size === (saved.type === 'directory' ? 0 : saved.size)
}

function isSuperseded ({ superseded }: Manifest, { key, etag, storedAt }: ObjectInfo): boolean {
  const object = superseded.get(key)
  return object !== undefined && object.etag === etag && object.storedAt === storedAt
}

export const unreadableManifest = (path: string): Problem => ({
  path,
  code: 'MANIFEST_UNREADABLE',
  message: 'Parts of this manifest cannot be read. Nothing is deleted in S3 until an upload has written it anew.'
})

export const sameName = { code: 'KEY_CONFLICT', message: `A file has the same name, and takes its place: ${remedy}` }

function addUntracked (remote: Remote, path: string, object: ObjectInfo) {
  const problem = keyProblem(object.key)
  if (problem !== undefined) remote.warnings.push({ path: object.key, ...problem })
  else if (object.key.endsWith('/') && object.size > 0) {
    const message = `The object has content, which a directory cannot have, so it stays in S3 only: ${remedy}`
    remote.unusable.set(path, object)
    remote.warnings.push({ path: object.key, code: 'DIRECTORY_WITH_CONTENT', message })
  } else if ((remote.untracked.has(path) || remote.storedAt.has(path)) && object.key.endsWith('/')) {
    remote.unusable.set(path, object)
    remote.warnings.push({ path: object.key, ...sameName })
  } else remote.untracked.set(path, object)
}
