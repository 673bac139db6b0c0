type ObjectType = 'file' | 'directory' | 'symlink'

/** What S3 has to keep of a file system entry besides its bytes. */
interface ObjectAttributes {
  type: ObjectType
  /** Permission bits, without the type. */
  mode: number
  /** Seconds since 1970, with a fraction where it is known; negative before. */
  mtime: string
  uid?: number
  gid?: number
}

const typeBits: Record<ObjectType, number> = { file: 0o100000, directory: 0o040000, symlink: 0o120000 }
const typeMask = 0o170000
const permissionMask = 0o7777

/**
 * User metadata that rclone (`--metadata`) and s3fs both read: `mode` in octal with a leading zero (rclone takes any
 * octal, s3fs needs the zero), `mtime` in seconds. As in s3fs, a directory's key ends in `/` and a symlink's body is
 * its target.
 */
export function toMetadata ({ type, mode, mtime, uid, gid }: ObjectAttributes): Record<string, string> {
  return {
    mode: `0${(typeBits[type] | mode).toString(8)}`,
    mtime,
    ...(uid !== undefined && { uid: String(uid) }),
    ...(gid !== undefined && { gid: String(gid) })
  }
}

/** What the metadata of an object says, whatever tool wrote it; what is missing or makes no sense is left out. */
export function fromMetadata (key: string, metadata: Record<string, string>): Partial<ObjectAttributes> {
  const isDirectory = key.endsWith('/')
  const mode = parseMode(metadata['mode'] ?? metadata['file-permissions'], isDirectory)
  const isLink = mode !== undefined && (mode & typeMask) === typeBits.symlink
  const type = isDirectory ? 'directory' : isLink ? 'symlink' : 'file'
  const mtime = parseTime(metadata['mtime'] ?? metadata['file-mtime'])
  return {
    type,
    ...(mode !== undefined && { mode: mode & permissionMask }),
    ...(mtime !== undefined && { mtime })
  }
}

/**
 * rclone writes `100644` (octal), s3fs `33188` (decimal), DataSync `0644` (octal). Where both readings are modes the
 * key decides: the 41471 of a symlink would be a directory in octal.
 */
function parseMode (text: string | undefined, isDirectory: boolean): number | undefined {
  if (text === undefined || !/^[0-9]{1,8}$/.test(text)) return
  const octal = /^[0-7]+$/.test(text) ? parseInt(text, 8) : undefined
  if (octal !== undefined && (octal <= permissionMask || isMode(octal, isDirectory))) return octal
  const decimal = Number(text)
  return isMode(decimal, isDirectory) ? decimal : undefined
}

function isMode (mode: number, isDirectory: boolean): boolean {
  const type = mode & typeMask
  const isKnown = isDirectory ? type === typeBits.directory : type === typeBits.file || type === typeBits.symlink
  return isKnown && mode <= 0o177777
}

/** Seconds with or without a fraction, RFC 3339, nanoseconds (DataSync) or milliseconds (File Gateway has both). */
function parseTime (text: string | undefined): string | undefined {
  if (text === undefined) return
  if (/^-?\d{1,11}(\.\d{1,9})?$/.test(text)) return text
  const nanoseconds = /^(\d{8,10})(\d{9})(ns)?$/.exec(text)
  if (nanoseconds) return `${nanoseconds[1]}.${nanoseconds[2]}`
  const milliseconds = /^(\d{9,10})(\d{3})$/.exec(text)
  if (milliseconds) return `${milliseconds[1]}.${milliseconds[2]}`
  // Date.parse takes almost anything for a date.
  const time = /^[+-]?\d{4,6}-\d\d/.test(text) ? Date.parse(text) : NaN
  return Number.isNaN(time) ? undefined : String(time / 1000)
}
