import { S3Fault } from './faults.js'
import { keyProblem, manifestKey, packOf, reserved, versionKey } from './keys.js'
import {
  decodeManifest, emptyManifest, encodeManifest, isFound, type Manifest, type Retired, type Saved
} from './manifest.js'
import { listAll } from './list-all.js'
import type { ObjectInfo } from './object-list.js'
import type { ObjectStore } from './object-store.js'
import { listVersions } from './versions.js'
import type { Problem } from './workspace.js'

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
  const pages = listAll(store, reading.then(keysOf))
  const first = await pages.next()
  const manifest = await reading
  const seen = new Set<string>()
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
        seen.add(path)
        remote.known.set(path, saved)
        if (saved.key === undefined) remote.storedAt.set(path, object.storedAt)
      } else if (isRetired(manifest, object)) remote.retired.set(object.key, manifest.retired.get(object.key)!)
      else if (!object.key.startsWith(reserved) && object.key !== '' && current) addForeign(remote, path, object)
    }
  }
  for (const [path, saved] of manifest.entries) {
    if (seen.has(path)) continue
    if (keyProblem(path) !== undefined || remote.foreign.has(path)) continue
    if (saved.type === 'directory' && saved.etag === '') remote.known.set(path, saved)
    else remote.missing.set(path, saved)
  }
  remote.empty = remote.known.size === 0 && remote.foreign.size === 0
  return remote
}

/** The keys that have to be there if a manifest is right. */
function keysOf ({ entries, retired }: Manifest): string[] {
  return [...[...entries].map(([path, saved]) => keyOf(path, saved)), ...retired.keys()]
}

/** When it is lost, that of the latest save: the objects of a versioned workspace are nowhere else explained. */
async function readCurrent (store: ObjectStore): Promise<Manifest> {
  const manifest = await readManifest(store, manifestKey)
  if (isFound(manifest)) return manifest
  const [latest] = await listVersions(store)
  return latest === undefined ? manifest : await readManifest(store, versionKey(latest.version))
}

/** An empty one when there is none. @throws {S3Fault} */
async function readManifest (store: ObjectStore, key: string): Promise<Manifest> {
  try {
    return await decodeManifest((await store.get(key)).body)
  } catch (error) {
    if (error instanceof S3Fault && error.status === 404) return emptyManifest()
    throw error
  }
}

/** @param version also keeps it as the one of this save. @throws {S3Fault} */
export async function writeManifest (
  store: ObjectStore, { entries, retired }: Omit<Manifest, 'savedAt'>, version?: string
): Promise<void> {
  const bytes = await encodeManifest({ savedAt: new Date().toISOString(), entries, retired })
  if (version !== undefined) await store.put(versionKey(version), bytes)
  await store.put(manifestKey, bytes)
}

/** The key of an entry's object, below the prefix. */
export function keyOf (path: string, { type, key }: Pick<Saved, 'type' | 'key'>): string {
  return key ?? (type === 'directory' ? `${path}/` : path)
}

/** Objects of saves are kept as `.modal-sandbox/saves/<save>/<path>`. */
export function saveKey (save: string, path: string, type: Saved['type']): string {
  return `${reserved}saves/${save}/${type === 'directory' ? `${path}/` : path}`
}

function pathOf (key: string): string {
  const path = key.startsWith(`${reserved}saves/`) ? key.split('/').slice(3).join('/') : key
  return path.replace(/\/$/, '')
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
