import { createHash } from 'node:crypto'
import { digest } from '../../../lib/ids.js'
import { S3Error } from '../s3/errors.js'
import { fromMetadata } from '../s3/metadata.js'
import type { GetOptions, ObjectStore, StoredObject } from '../s3/object-store.js'
import type { WriteEntry } from '../workspace/workspace.js'
import type { PackedTarget, PackTarget, SavedEntry, Target } from './entries.js'
import { partSizeFor } from './limits.js'

const defaultModes = { file: 0o644, directory: 0o755, symlink: 0o777 }

/** Fetches a whole object into memory. @throws {S3Error} */
export async function fetchWhole (
  store: ObjectStore, { key, etag, saved }: Target
): Promise<{ object: StoredObject, hash: string }> {
  const expected = saved?.hashes[0]
  return await fetchVerified(expected, async () => {
    const object = await store.get(key, { etag })
    const hash = digest(object.body)
    const { body, md5 } = object
    return { object, hash, isStored: hash === expected || isMd5(md5, () => createHash('md5').update(body).digest('hex')) }
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

/** The hashes of an object's parts that the manifest has, if they are of parts that would be fetched. */
export function knownHashes ({ size, saved }: Target): string[] {
  return saved?.partSize === partSizeFor(size) ? saved.hashes : []
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

/** What an object that is not empty is, without its content. @throws {S3Error} */
export async function fetchDescription (
  store: ObjectStore, { key, etag }: Target
): Promise<Pick<StoredObject, 'metadata' | 'md5'>> {
  return await store.get(key, { etag, start: 0, length: 1 })
}

interface Fetched {
  hash: string
  /** Whether it is what was stored, where S3 tells. */
  isStored?: boolean | undefined
}

/**
 * Fetches once more what is not as it was stored: it may have been damaged on its way. The hash in the manifest proves
 * it; where that is another one or none, the MD5 that S3 tells does, as anyone who can write to the prefix can forge a
 * manifest. Where there is neither, nothing can be proved.
 * @throws {S3Error} ContentMismatch when it comes wrong again.
 */
export async function fetchVerified<T extends Fetched> (
  expected: string | undefined, fetch: () => Promise<T>
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const fetched = await fetch()
    if (fetched.hash === expected || (fetched.isStored ?? expected === undefined)) return fetched
    if (attempt === 2) throw new S3Error('ContentMismatch')
  }
}

/** Compares with the MD5 that S3 tells, if any. */
export function isMd5 (stored: string | undefined, compute: () => string | undefined): boolean | undefined {
  const md5 = stored === undefined ? undefined : compute()
  return md5 === undefined ? undefined : md5 === stored
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
