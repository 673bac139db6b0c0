import { readCurrent, readManifest } from './manifest-store.js'
import { isFound, type Manifest, type Superseded } from './manifest.js'
import { isObsoletePack, keyProblem, manifestKey, packOf, reserved, withoutSlash } from './s3/keys.js'
import { listInRanges } from './s3/list-ranges.js'
import type { ObjectInfo } from './s3/list.js'
import type { ObjectStore } from './s3/object-store.js'
import { keyOf, type SavedEntry } from './transfer/entries.js'
import type { Problem } from './workspace/workspace.js'

const savesPrefix = `${reserved}saves/`

/** What is under a prefix: S3's own list, explained by a manifest where that is right about it. */
export interface Remote {
  /** Entries whose objects are there as the manifest says, and directories without one. */
  tracked: Map<string, SavedEntry>
  /** Objects of others, or that others have changed, by path. */
  untracked: Map<string, ObjectInfo>
  /** What the manifest says of objects that are gone. */
  missing: Map<string, SavedEntry>
  /** By key: objects of no use any more but to earlier saves. */
  superseded: Map<string, Superseded>
  /** By path: when S3 got the known objects that are at their own paths. */
  storedAt: Map<string, number>
  /** By hash: packs that are there, and their sizes. */
  packs: Map<string, number>
  /** Keys of packs of an earlier format. */
  obsoletePacks: string[]
  /** Whether there is a manifest. */
  hasManifest: boolean
  problems: Problem[]
  /** Whether there is anything of a workspace. */
  isEmpty: boolean
}

/** @param version the manifest to go by; another than the current one restores an older save. @throws {S3Error} */
export async function readRemote (store: ObjectStore, version = manifestKey): Promise<Remote> {
  const current = version === manifestKey
  const reading = current ? readCurrent(store) : readManifest(store, version)
  const pages = listInRanges(store, reading.pageEnds)
  const [first, manifest] = await Promise.all([pages.next(), reading.manifest])
  const remote: Remote = {
    tracked: new Map(),
    untracked: new Map(),
    missing: new Map(),
    superseded: new Map(),
    storedAt: new Map(),
    packs: new Map(),
    obsoletePacks: [],
    hasManifest: isFound(manifest),
    problems: [],
    isEmpty: true
  }
  for (let page = first; !page.done; page = await pages.next()) {
    for (const object of page.value) {
      const path = pathOf(object.key)
      const pack = packOf(object.key)
      const saved = manifest.entries.get(path)
      if (pack !== undefined) remote.packs.set(pack, object.size)
      else if (isObsoletePack(object.key)) remote.obsoletePacks.push(object.key)
      else if (saved !== undefined && keyProblem(path) === undefined && isObjectOf(path, saved, object)) {
        remote.tracked.set(path, saved)
        if (saved.key === undefined) remote.storedAt.set(path, object.storedAt)
      } else if (isRetired(manifest, object)) remote.superseded.set(object.key, manifest.superseded.get(object.key)!)
      else if (!object.key.startsWith(reserved) && object.key !== '' && current) addForeign(remote, path, object)
    }
  }
  for (const [path, saved] of manifest.entries) {
    if (remote.tracked.has(path) || keyProblem(path) !== undefined || remote.untracked.has(path)) continue
    if (saved.type === 'directory' && saved.etag === '') remote.tracked.set(path, saved)
    else remote.missing.set(path, saved)
  }
  remote.isEmpty = remote.tracked.size === 0 && remote.untracked.size === 0
  return remote
}

/** Objects of saves are kept as `.modal-sandbox/saves/<save>/<path>`. */
export function saveKey (save: string, path: string, type: SavedEntry['type']): string {
  return `${savesPrefix}${save}/${keyOf(path, { type })}`
}

function pathOf (key: string): string {
  return withoutSlash(key.startsWith(savesPrefix) ? key.split('/').slice(3).join('/') : key)
}

/** A symlink's object is as long as its target, a directory's empty. */
function isObjectOf (path: string, saved: SavedEntry, { key, etag, size }: ObjectInfo): boolean {
  return keyOf(path, saved) === key && saved.etag === etag && size === (saved.type === 'directory' ? 0 : saved.size)
}

function isRetired ({ superseded: retired }: Manifest, { key, etag, storedAt }: ObjectInfo): boolean {
  const known = retired.get(key)
  return known !== undefined && known.etag === etag && known.storedAt === storedAt
}

function addForeign (remote: Remote, path: string, object: ObjectInfo) {
  const problem = keyProblem(object.key)
  if (problem !== undefined) remote.problems.push({ path: object.key, ...problem })
  else if ((remote.untracked.has(path) || remote.storedAt.has(path)) && object.key.endsWith('/')) {
    remote.problems.push({ path: object.key, code: 'KEY_CONFLICT', message: 'Another object has the same path.' })
  } else remote.untracked.set(path, object)
}
