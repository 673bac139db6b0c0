import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { S3Server } from './s3.js'
import type { Tree } from './trees.js'

const exec = promisify(execFile)

/** For tests that ask a reader of S3 which is not ours. */
export const noRclone = await exec('rclone', ['version']).then(() => false, () => 'rclone is not installed (Debian: rclone)')

/** Runs rclone, to which the server is known as `s3:`. @throws with `stdout`, when it does not end with 0. */
export async function rclone (
  server: Pick<S3Server, 'endpoint' | 'accessKeyId' | 'secretAccessKey'>, args: string[]
): Promise<string> {
  // rclone does not start with it.
  const { AWS_CA_BUNDLE: _, ...rest } = process.env
  const { stdout } = await exec('rclone', args, {
    maxBuffer: 2 ** 26,
    env: {
      ...rest,
      RCLONE_CONFIG: '/dev/null',
      RCLONE_CONFIG_S3_TYPE: 's3',
      RCLONE_CONFIG_S3_PROVIDER: 'Ceph',
      RCLONE_CONFIG_S3_ENDPOINT: server.endpoint,
      RCLONE_CONFIG_S3_ACCESS_KEY_ID: server.accessKeyId,
      RCLONE_CONFIG_S3_SECRET_ACCESS_KEY: server.secretAccessKey
    }
  })
  return stdout
}

/** Paths by {@link rcloneName}. */
interface Checked {
  /** Byte for byte on both sides. */
  same: string[]
  /** Different, or not readable. */
  other: string[]
  onlyHere: string[]
  /** Without keys that rclone has no path for. */
  onlyThere: string[]
}

/**
 * Compares the files of a directory with the objects under a prefix, byte by byte. Symlinks, which rclone does not
 * have in S3, are left out here, and are objects like any other there; the sync's own objects are left out.
 */
export async function rcloneCheck (
  server: Parameters<typeof rclone>[0], directory: string, remote: string
): Promise<Checked> {
  const stdout = await rclone(server, [
    'check', '--download', '--skip-links', '--no-unicode-normalization', '--exclude', '/.modal-sandbox/**', '--combined', '-',
    // It would try for half a minute whether keys such as `a//` have become something that it knows.
    '--retries', '1', '--low-level-retries', '1', directory, `s3:${remote}`
  ]).catch((error: { stdout?: string }) => {
    // Any difference makes it end with 1.
    if (error.stdout === undefined || error.stdout === '') throw error
    return error.stdout
  })
  const lines = stdout.split('\n').filter((line) => line !== '')
  const marked = (marks: string) => lines.filter((line) => marks.includes(line[0]!)).map((line) => line.slice(2)).sort()
  return { same: marked('='), other: marked('*!'), onlyHere: marked('+'), onlyThere: marked('-') }
}

/** A path as rclone writes it: with signs for control characters, and for what would lead elsewhere. */
export function rcloneName (path: string): string {
  const safe = path.replace(/(?<=^|\/)\.{1,2}(?=\/|$)/g, (dots) => '\uff0e'.repeat(dots.length))
  // eslint-disable-next-line no-control-regex
  return safe.replace(/[\0-\x1f]/g, (character) => String.fromCharCode(0x2400 + character.charCodeAt(0)))
}

/** What of a tree is of a type, as rclone names it. */
export function rcloneNames (tree: Tree, type: string): string[] {
  return [...tree].filter(([, entry]) => entry.type === type).map(([path]) => rcloneName(path)).sort()
}
