import { decodeManifest, encodeManifest, readPageEnds } from './manifest-file.js'
import { isFound, type Manifest } from './manifest.js'
import { S3Error } from './s3/errors.js'
import { manifestKey, versionKey } from './s3/keys.js'
import type { ObjectStore } from './s3/object-store.js'
import { listVersions } from './versions.js'

/** A manifest as it comes; where there is none an empty one. Both promises reject with {@link S3Error}. */
export interface ManifestReading { pageEnds: Promise<string[]>, manifest: Promise<Manifest> }

export function readManifest (store: ObjectStore, key: string): ManifestReading {
  const body = readBody(store, key)
  return { pageEnds: body.then(readPageEnds), manifest: body.then(decodeManifest) }
}

/** When it is lost, that of the latest save: the objects of a versioned workspace are nowhere else explained. */
export function readCurrent (store: ObjectStore): ManifestReading {
  const { pageEnds, manifest } = readManifest(store, manifestKey)
  const orLatest = async (manifest: Manifest) => {
    if (isFound(manifest)) return manifest
    const [latest] = await listVersions(store)
    return latest === undefined ? manifest : await readManifest(store, versionKey(latest.version)).manifest
  }
  return { pageEnds, manifest: manifest.then(orLatest) }
}

/** @param version also keeps it as the one of this save. @throws {S3Error} */
export async function writeManifest (
  store: ObjectStore, content: Omit<Manifest, 'savedAt'>, version?: string
): Promise<void> {
  const bytes = await encodeManifest({ savedAt: new Date().toISOString(), ...content })
  if (version !== undefined) await store.put(versionKey(version), bytes)
  await store.put(manifestKey, bytes)
}

/** Empty when there is none. */
async function readBody (store: ObjectStore, key: string): Promise<Buffer> {
  try {
    return (await store.get(key)).body
  } catch (error) {
    if (error instanceof S3Error && error.status === 404) return Buffer.alloc(0)
    throw error
  }
}
