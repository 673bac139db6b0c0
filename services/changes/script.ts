import { AppError } from '../../errors.js'
import { cleanEnvironment, loadScript } from '../modal/script.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'

const script = cleanEnvironment + loadScript(import.meta.url, 'changes.sh')

/** Of what a command says, so much is passed on. */
export const outputBytes = 512 * 1024

export interface GitCommand {
  action: 'status' | 'diff' | 'stage' | 'unstage' | 'commit' | 'branch'
  /** Never taken for options by the script. */
  words?: string[]
}

/** argv for one command in the repository of a sandbox's workdir. */
export function gitCommand (owned: OwnedSandbox, { action, words = [] }: GitCommand): string[] {
  const { workdir, mountPath = workdir } = owned
  return ['sh', '-c', script, 'changes', action, workdir, mountPath, String(outputBytes), ...words]
}

/**
 * A path below the root of the repository, as git itself takes it. In its list, that of a repository ends with a slash.
 * @param field names it in errors. @throws {AppError} PATH_FORBIDDEN, BAD_REQUEST.
 */
export function checkPath (field: string, given: string): string {
  const path = given.replace(/(?<=.)\/$/s, '')
  const parts = path.split('/')
  if (path.startsWith('/') || parts.includes('..')) {
    throw new AppError('PATH_FORBIDDEN', { message: `${field} leads out of the repository.` })
  }
  if (parts.some((part) => part === '' || part === '.')) {
    throw new AppError('BAD_REQUEST', { message: `${field} is no path of the list of changes` })
  }
  return path
}

/** The error behind an exit code of the script. @param complaint its standard error. */
export function gitError (exitCode: number, complaint: string): AppError {
  switch (exitCode) {
    case 40: return new AppError('NO_REPOSITORY', { message: 'The sandbox has no git.' })
    case 41: return new AppError('NO_REPOSITORY')
    case 44: return new AppError('FILE_NOT_FOUND', { message: 'Git knows no such change.' })
    case 47: return new AppError('BAD_REQUEST', { message: 'querystring.path is a directory' })
    case 53: return new AppError('NOTHING_STAGED')
  }
  const said = complaint.replace(/^(fatal|error|hint|warning): /gm, '').trim().slice(0, 500)
  const cause = new Error(`exit code ${exitCode}: ${complaint.slice(0, 1000)}`)
  return new AppError('GIT_FAILED', { cause, ...(said !== '' && { message: `Git says: ${said}` }) })
}
