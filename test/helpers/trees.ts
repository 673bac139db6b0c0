import { GetObjectCommand, ListMultipartUploadsCommand, ListObjectsV2Command, type S3Client } from '@aws-sdk/client-s3'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** The program that makes and changes random trees; see there. */
export const treeProgram = fileURLToPath(new URL('../fixtures/tree.js', import.meta.url))

/** Type, permission bits, SHA-256 or target, and nanoseconds of the last change, by path. */
export type Tree = Map<string, { type: string, mode: number, content: string, time?: string }>

/** Describes the directory `$1` with tools that share nothing with the service; {@link parseTree} reads it. */
export const describeScript = `cd "$1" && find . -mindepth 1 -printf '%y %m %T@ %l\\0%P\\0' && printf '\\0' &&
find . -type f -print0 | xargs -0r sha256sum -z`

/** What is in a directory of this machine. */
export async function describeTree (directory: string): Promise<Tree> {
  const { stdout } = await run('sh', ['-c', describeScript, 'sh', directory], { maxBuffer: 2 ** 26 })
  return parseTree(stdout)
}

const types: Record<string, string> = { f: 'file', d: 'directory', l: 'symlink' }

/** Reads what {@link describeScript} prints. */
export function parseTree (text: string): Tree {
  const [listed = '', hashed = ''] = text.split(/(?<=^|\0)\0/)
  const hashes = new Map(hashed.split('\0').map((line) => [line.slice(66 + './'.length), line.slice(0, 64)]))
  const tree: Tree = new Map()
  const fields = listed.split('\0')
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const [, kind = '', bits = '', time = '', target = ''] = /^(.) (\d+) (\S+) (.*)$/s.exec(fields[at]!) ?? []
    const path = fields[at + 1]!
    const type = types[kind] ?? kind
    const content = type === 'file' ? hashes.get(path)! : target
    tree.set(path, { type, mode: type === 'symlink' ? 0 : parseInt(bits, 8), content, time: nanoseconds(time) })
  }
  return tree
}

/** find writes the second that a time is in, and what of it has passed: -1.75 is a quarter of a second before 1970. */
function nanoseconds (time: string): string {
  const [seconds, fraction = ''] = time.split('.')
  return String(BigInt(seconds!) * 1_000_000_000n + BigInt(fraction.slice(0, 9)))
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
 * @param options.times whether times have to be the same, too: to the nanosecond where tar has set them.
 * @param options.plain whether an ordinary directory may be missing: S3 has none.
 */
export function differences (
  expected: Tree, found: Tree, options: { except?: string[], times?: boolean | 'exact', plain?: boolean } = {}
): string[] {
  const { except = [], times = false, plain = false } = options
  return [...expected].flatMap(([path, one]) => {
    if (except.some((other) => path === other || path.startsWith(`${other}/`))) return []
    const other = found.get(path)
    if (other === undefined) {
      return plain && one.type === 'directory' && one.mode === 0o755 ? [] : [`${JSON.stringify(path)}: missing`]
    }
    const late = times !== false && one.type !== 'directory' && !isSameTime(one.time!, other.time!, times)
    return (['type', 'mode', 'content', ...late ? ['time'] as const : []] as const)
      .filter((field) => one[field] !== other[field])
      .map((field) => `${JSON.stringify(path)}: ${field} ${one[field]}, found ${other[field]}`)
  })
}

/** Node sets times as floating point numbers of seconds, of which far ones are coarse. */
function isSameTime (one: string, other: string, precision: true | 'exact'): boolean {
  const [expected, found] = [BigInt(one), BigInt(other)]
  if (precision === 'exact') return expected === found
  const tolerance = expected < 2n ** 32n * 1_000_000_000n ? 2000n : 6000n
  return expected - found < tolerance && found - expected < tolerance
}
