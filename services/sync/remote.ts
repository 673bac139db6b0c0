import { bare, keyProblem, manifestKey, packOf, reserved } from './keys.js'
import { listAll } from './list-all.js'
import { isFound, keyOf, type Manifest, type Retired, type Saved } from './manifest.js'
import { readCurrent, readManifest } from './manifests.js'
import type { ObjectInfo } from './object-list.js'
import type { ObjectStore } from './object-store.js'
import type { Problem } from './workspace.js'

const savesPrefix = `${reserved}saves/`

/** What is under a prefix: S3's own list, explained by a manifest where that is right about it. */
export interface Remote {
  /** Entries whose objects are there as the manifest says, and directories without one. */
  known: Map<string, Saved>
  /** Objects of others, or that others have changed, by path. */
  foreign: Map<string, ObjectInfo>
  /** What the manifest says of objects that are gone. */
  missing: Map<string, Saved>
  /** By key: objects of no use any more but to earlier saves. */
  retired: Map<string, Retired>
  /** By path: when S3 got the known objects that are at their own paths. */
  storedAt: Map<string, number>
  /** By hash: packs that are there, and their sizes. */
  packs: Map<string, number>
  /** Whether there is a manifest. */
  found: boolean
  problems: Problem[]
  /** Whether there is anything of a workspace. */
  empty: boolean
}

/** @param version the manifest to go by; another than the current one restores an older save. @throws {S3Fault} */
export async function readRemote (store: ObjectStore, version = manifestKey): Promise<Remote> {
  const current = version === manifestKey
  const reading = current ? readCurrent(store) : readManifest(store, version)
  const pages = listAll(store, reading.pageEnds)
  const [first, manifest] = await Promise.all([pages.next(), reading.manifest])
  const remote: Remote = {
    known: new Map(),
    foreign: new Map(),
    missing: new Map(),
    retired: new Map(),
    storedAt: new Map(),
    packs: new Map(),
    found: isFound(manifest),
    problems: [],
    empty: true
  }
  for (let page = first; !page.done; page = await pages.next()) {
    for (const object of page.value) {
      const path = pathOf(object.key)
      const pack = packOf(object.key)
      const saved = manifest.entries.get(path)
      if (pack !== undefined) remote.packs.set(pack, object.size)
      else if (saved !== undefined && keyProblem(path) === undefined && isObjectOf(path, saved, object)) {
        remote.known.set(path, saved)
        if (saved.key === undefined) remote.storedAt.set(path, object.storedAt)
      } else if (isRetired(manifest, object)) remote.retired.set(object.key, manifest.retired.get(object.key)!)
      else if (!object.key.startsWith(reserved) && object.key !== '' && current) addForeign(remote, path, object)
    }
  }
  for (const [path, saved] of manifest.entries) {
    if (remote.known.has(path) || keyProblem(path) !== undefined || remote.foreign.has(path)) continue
    if (saved.type === 'directory' && saved.etag === '') remote.known.set(path, saved)
    else remote.missing.set(path, saved)
  }
  remote.empty = remote.known.size === 0 && remote.foreign.size === 0
  return remote
}

/** Objects of saves are kept as `.modal-sandbox/saves/<save>/<path>`. */
export function saveKey (save: string, path: string, type: Saved['type']): string {
  return `${savesPrefix}${save}/${keyOf(path, { type })}`
}

function pathOf (key: string): string {
  return bare(key.startsWith(savesPrefix) ? key.split('/').slice(3).join('/') : key)
}

/** A symlink's object is as long as its target, a directory's empty. */
function isObjectOf (path: string, saved: Saved, { key, etag, size }: ObjectInfo): boolean {
  return keyOf(path, saved) === key && saved.etag === etag && size === (saved.type === 'directory' ? 0 : saved.size)
}

function isRetired ({ retired }: Manifest, { key, etag, storedAt }: ObjectInfo): boolean {
  const known = retired.get(key)
  return known !== undefined && known.etag === etag && known.storedAt === storedAt
}

function addForeign (remote: Remote, path: string, object: ObjectInfo) {
  const problem = keyProblem(object.key)
  if (problem !== undefined) remote.problems.push({ path: object.key, ...problem })
  else if ((remote.foreign.has(path) || remote.storedAt.has(path)) && object.key.endsWith('/')) {
    remote.problems.push({ path: object.key, code: 'KEY_CONFLICT', message: 'Another object has the same path.' })
  } else remote.foreign.set(path, object)
}
