import { AppError } from '../../errors.js'
import { randomId } from '../../lib/ids.js'
import { loadScript } from '../modal/script.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'

const script = loadScript(import.meta.url, 'files.sh')

type Action = 'list' | 'changed' | 'read' | 'write' | 'delete'

/** Marks the records of one answer; no file name can contain it, as it is random. */
export function newNonce (): string {
  return randomId('files')
}

export interface FileCommand {
  action: Action
  /** Absolute, or relative to the workdir. */
  path: string
  nonce?: string
  /**
   * For `changed`: since when, in seconds since 1970. For `write`: how many bytes follow. For `read`: how large a file
   * may be whose digest is told.
   */
  number?: number
  /** For `write`: the SHA-256, in hex, of the content that may be replaced; any, if not given. */
  expected?: string | undefined
}

/** argv for one path of a sandbox. @throws {AppError} PATH_FORBIDDEN, BAD_REQUEST. */
export function fileCommand ({ workdir, mountPath = workdir }: OwnedSandbox, command: FileCommand): string[] {
  const { action, path, nonce = newNonce(), number = 0, expected = '' } = command
  const { base, rest } = splitPath(path, workdir, mountPath)
  const components = rest.split('/').filter((part) => part !== '' && part !== '.')
  const needsFile = action !== 'list' && action !== 'changed'
  if (needsFile && components.length === 0) throw new AppError('BAD_REQUEST', { message: 'query.path is a directory' })
  return ['sh', '-c', script, 'files', action, nonce, String(number), expected, workdir, mountPath, base, ...components]
}

/** The longest root that contains the path, and the rest of the path. */
function splitPath (path: string, workdir: string, mountPath: string) {
  if (!path.startsWith('/')) return { base: workdir, rest: path }
  const roots = [workdir, mountPath].sort((one, other) => other.length - one.length)
  const base = roots.find((root) => `${path}/`.startsWith(root.endsWith('/') ? root : `${root}/`))
  if (base === undefined) throw new AppError('PATH_FORBIDDEN')
  return { base, rest: path.slice(base.length) }
}

/** The error behind an exit code of the script. @param complaint its standard error. */
export function fileError (exitCode: number, complaint: string): AppError {
  switch (exitCode) {
    case 43: return new AppError('PATH_FORBIDDEN')
    case 44: return new AppError('FILE_NOT_FOUND')
    case 45: return new AppError('BAD_REQUEST', { message: 'query.path, or a part of it, is not a directory' })
    case 47: return new AppError('BAD_REQUEST', { message: 'query.path is a directory' })
    case 48: return new AppError('BAD_REQUEST', { message: 'query.path is neither a file nor a directory' })
    case 49: return new AppError('FILE_CHANGED')
  }
  const reason = complaint.trim().split('\n').at(-1)?.replace(/^.*: /, '').slice(0, 200)
  const cause = new Error(`exit code ${exitCode}: ${complaint.slice(0, 1000)}`)
  return new AppError('FILE_FAILED', { cause, ...(reason && { message: `The sandbox says: ${reason}` }) })
}

/** Whoever owns a sandbox can replace its programs: then the script says something else, or nothing. */
export function unexpected (): AppError {
  return new AppError('FILE_FAILED', { message: 'The sandbox did not answer as expected.' })
}
