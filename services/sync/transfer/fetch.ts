import { digest } from '../../../lib/ids.js'
import { S3Error } from '../s3/errors.js'
import { fromMetadata } from '../s3/metadata.js'
import type { GetOptions, ObjectStore, StoredObject } from '../s3/object-store.js'
import type { WriteEntry } from '../workspace/workspace.js'
import type { PackedTarget, PackTarget, SavedEntry, Target } from './entries.js'

const defaultModes = { file: 0o644, directory: 0o755, symlink: 0o777 }

/** Fetches a whole object into memory. @throws {S3Error} */
export async function fetchWhole (
  store: ObjectStore, { key, etag, saved }: Target
): Promise<{ object: StoredObject, hash: string }> {
  return await fetchVerified(saved?.hashes[0], async () => {
    const object = await store.get(key, { etag })
    return { object, hash: digest(object.body) }
  })
}

/**
 * Fetches a pack, which only ever saves requests.
 * @returns the contents of those targets that are in it as they were stored; none when it cannot be fetched.
 */
export async function fetchPacked (
  store: ObjectStore, { key, size, targets }: PackTarget
): Promise<Map<PackedTarget, Buffer>> {
  try {
    const { body } = await store.get(key, {}, Buffer.allocUnsafeSlow(size))
    const contents = targets.map((target) => {
      const { start } = target.saved.packed
      return [target, body.subarray(start, start + target.size)] as const
    })
    return new Map(contents.filter(([{ saved }, content]) => digest(content) === saved.hashes[0]))
  } catch (error) {
    if (error instanceof S3Error) return new Map()
    throw error
  }
}

/** Fetches a part of an object. @param into is exactly as long. @returns its hash. @throws {S3Error} */
export async function fetchPart (
  store: ObjectStore, key: string, options: GetOptions, into: Buffer, expected: string | undefined
): Promise<string> {
  return (await fetchVerified(expected, async () => {
    await store.get(key, options, into)
    return { hash: digest(into) }
  })).hash
}

/** The metadata of an object that is not empty. @throws {S3Error} */
export async function fetchMetadata (store: ObjectStore, { key, etag }: Target): Promise<Record<string, string>> {
  return (await store.get(key, { etag, start: 0, length: 1 })).metadata
}

/**
 * Fetches once more what does not have the hash in the manifest: it may have been damaged on its way. The request names
 * the ETag that the manifest knows, so another content than then is S3's fault, and nothing to restore.
 * @throws {S3Error} ContentMismatch when the second one does not have it either.
 */
export async function fetchVerified<T extends { hash: string }> (
  expected: string | undefined, fetch: () => Promise<T>
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const fetched = await fetch()
    if (expected === undefined || fetched.hash === expected) return fetched
    if (attempt === 2) throw new S3Error('ContentMismatch')
  }
}

/**
 * How an entry has to be, and what the manifest will say about it: what the present manifest says; without one what the
 * object's metadata say, and defaults for what they leave out.
 * @param object without a body the entry is described without its content.
 */
export function describeEntry (
  target: Target, { body, metadata, size }: Pick<StoredObject, 'metadata' | 'size'> & { body?: Buffer },
  hashes: string[], partSize: number
): { entry: WriteEntry, saved: SavedEntry } {
  const { path, key, etag, saved, storedAt = 0 } = target
  const attributes = fromMetadata(key, metadata)
  const type = saved?.type ?? (attributes.type === 'symlink' && !isTarget(size, body) ? 'file' : attributes.type!)
  const mode = saved?.mode ?? attributes.mode ?? defaultModes[type]
  const mtime = saved?.mtime ?? attributes.mtime ?? String(Math.floor(storedAt / 1000))
  const content = body !== undefined && (type === 'symlink' ? { target: body.toString() } : type === 'file' && { body })
  const entry: WriteEntry = { path, type, mode, mtime, size, ...content }
  const next: SavedEntry = {
    type,
    mode,
    size,
    mtime,
    etag,
    hashes,
    partSize,
    own: saved?.own ?? false,
    ...(saved?.key !== undefined && { key: saved.key }),
    ...(saved?.packed !== undefined && { packed: saved.packed })
  }
  return { entry, saved: next }
}

/** Linux takes no others: an object that only says that it is a symlink comes as a file. */
function isTarget (size: number, body: Buffer | undefined): boolean {
  return size > 0 && size < 4096 && body?.includes(0) !== true
}
