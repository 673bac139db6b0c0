import { digest } from '../../../lib/ids.js'
import { cipher, type PackedTarget, type PackTarget } from '../packs.js'
import type { Target } from '../plan-download.js'
import { S3Error } from '../s3/errors.js'
import type { GetOptions, ObjectStore, StoredObject } from '../s3/object-store.js'

/** A whole object, into memory of this service. @throws {S3Error} */
export async function fetchWhole (
  store: ObjectStore, { key, etag, saved }: Target
): Promise<{ object: StoredObject, hash: string }> {
  return await fetchVerified(saved?.hashes[0], async () => {
    const object = await store.get(key, { etag })
    return { object, hash: digest(object.body) }
  })
}

/**
 * Contents out of a pack, for those targets that are in it as they were stored.
 * @returns none when it can't be had: it is only a help.
 */
export async function fetchPacked (
  store: ObjectStore, { key, size, targets }: PackTarget
): Promise<Map<PackedTarget, Buffer>> {
  try {
    const { body } = await store.get(key, { into: Buffer.allocUnsafeSlow(size) })
    const contents = targets.map((target) => {
      const { size, saved: { hashes, packed: { start } } } = target
      return [target, cipher(body.subarray(start, start + size), hashes[0]!)] as const
    })
    return new Map(contents.filter(([{ saved }, content]) => digest(content) === saved.hashes[0]))
  } catch (error) {
    if (error instanceof S3Error) return new Map()
    throw error
  }
}

/** A part of one, into memory that is there for it. @returns its hash. @throws {S3Error} */
export async function fetchPart (
  store: ObjectStore, key: string, options: GetOptions & { into: Buffer }, expected: string | undefined
): Promise<string> {
  return (await fetchVerified(expected, async () => {
    await store.get(key, options)
    return { hash: digest(options.into) }
  })).hash
}

/** What an object that is not empty says about itself. @throws {S3Error} */
export async function fetchMetadata (store: ObjectStore, { key, etag }: Target): Promise<Record<string, string>> {
  return (await store.get(key, { etag, start: 0, length: 1 })).metadata
}

/** What is not as it was stored is fetched once more; S3 itself knows best then. */
export async function fetchVerified<T extends { hash: string }> (
  expected: string | undefined, fetch: (attempt: 1 | 2) => Promise<T>
): Promise<T> {
  const first = await fetch(1)
  return expected === undefined || first.hash === expected ? first : await fetch(2)
}
