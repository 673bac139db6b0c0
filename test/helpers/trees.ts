import { GetObjectCommand, ListMultipartUploadsCommand, ListObjectsV2Command, type S3Client } from '@aws-sdk/client-s3'
import { createHash } from 'node:crypto'
import { fileURLToPath } from 'node:url'

/** The program that makes, changes and describes random trees; see there. */
export const treeProgram = fileURLToPath(new URL('../fixtures/tree.js', import.meta.url))

/** Type, permission bits, SHA-256 or target, and microseconds of the last change, by path. */
export type Tree = Map<string, { type: string, mode: number, content: string, time?: string }>

/** Reads what `describe` prints. */
export function parseTree (text: string): Tree {
  const entries = JSON.parse(text) as [string, string, number, string, string][]
  return new Map(entries.map(([path, type, mode, content, time]) => [path, { type, mode, content, time }]))
}

const readsAtOnce = 8

/** Reads a workspace's objects as any reader of rclone's or s3fs' metadata does, with nothing of the engine. */
export async function readBucket (client: S3Client, bucket: string, prefix: string): Promise<Tree> {
  const tree: Tree = new Map()
  let ContinuationToken: string | undefined
  do {
    const page = await client.send(new ListObjectsV2Command({
      Bucket: bucket, Prefix: prefix, EncodingType: 'url', ...(ContinuationToken !== undefined && { ContinuationToken })
    }))
    const all = page.Contents ?? []
    const read = async ({ Key }: { Key?: string }) => {
      const key = decodeURIComponent(Key!.replaceAll('+', '%20'))
      const path = key.slice(prefix.length)
      if (path.startsWith('.modal-sandbox/')) return
      const { Body, Metadata } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }))
      const body = await Body!.transformToByteArray()
      const bits = parseInt(Metadata!['mode']!, 8)
      const mode = bits & 0o7777
      if (key.endsWith('/')) tree.set(path.slice(0, -1), { type: 'directory', mode, content: '' })
      else if ((bits & 0o170000) === 0o120000) tree.set(path, { type: 'symlink', mode: 0, content: Buffer.from(body).toString() })
      else tree.set(path, { type: 'file', mode, content: createHash('sha256').update(body).digest('hex') })
    }
    for (let from = 0; from < all.length; from += readsAtOnce) {
      await Promise.all(all.slice(from, from + readsAtOnce).map(read))
    }
    ContinuationToken = page.NextContinuationToken
  } while (ContinuationToken !== undefined)
  return tree
}

/** Multipart uploads of a bucket that are neither completed nor aborted. */
export async function incompleteUploads (client: S3Client, bucket: string): Promise<string[]> {
  const { Uploads } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }))
  return (Uploads ?? []).map(({ Key }) => Key!)
}

/**
 * What of `expected` is not in `found`, but for the paths in `except` and what is below them.
 * @param options.times whether times have to be the same, too.
 * @param options.plain whether an ordinary directory may be missing: S3 has none.
 */
export function differences (
  expected: Tree, found: Tree, options: { except?: string[], times?: boolean, plain?: boolean } = {}
): string[] {
  const { except = [], times = false, plain = false } = options
  return [...expected].flatMap(([path, one]) => {
    if (except.some((other) => path === other || path.startsWith(`${other}/`))) return []
    const other = found.get(path)
    if (other === undefined) {
      return plain && one.type === 'directory' && one.mode === 0o755 ? [] : [`${JSON.stringify(path)}: missing`]
    }
    // Node sets times as floating point numbers.
    const late = times && one.type === 'file' && Math.abs(Number(one.time) - Number(other.time)) > 2
    return (['type', 'mode', 'content', ...late ? ['time'] as const : []] as const)
      .filter((field) => one[field] !== other[field])
      .map((field) => `${JSON.stringify(path)}: ${field} ${one[field]}, found ${other[field]}`)
  })
}
