import type { SavedEntry } from '../manifest.js'
import type { Target } from '../plan-download.js'
import { fromMetadata } from '../s3/metadata.js'
import type { WriteEntry } from '../workspace/workspace.js'

const defaultModes = { file: 0o644, directory: 0o755, symlink: 0o777 }

interface Fetched {
  /** Without one the entry says only what it is. */
  body?: Buffer
  size: number
  metadata: Record<string, string>
}

/** The manifest knows best; without it the object itself says what it is, and what it does not say has a default. */
export function describeEntry (target: Target, { body, metadata, size }: Fetched, hashes: string[], ofParts: number) {
  const { path, key, etag, saved, storedAt = 0 } = target
  const told = fromMetadata(key, metadata)
  const type = saved?.type ?? told.type!
  const mode = saved?.mode ?? told.mode ?? defaultModes[type]
  const mtime = saved?.mtime ?? told.mtime ?? String(Math.floor(storedAt / 1000))
  const content = body !== undefined && (type === 'symlink' ? { target: body.toString() } : type === 'file' && { body })
  const entry: WriteEntry = { path, type, mode, mtime, size, ...content }
  const next: SavedEntry = {
    type,
    mode,
    size,
    mtime,
    etag,
    hashes,
    partSize: ofParts,
    own: saved?.own ?? false,
    ...(saved?.key !== undefined && { key: saved.key }),
    ...(saved?.packed !== undefined && { packed: saved.packed })
  }
  return { entry, saved: next }
}
