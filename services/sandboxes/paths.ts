import { posix } from 'node:path'
import { AppError } from '../../errors.js'
import { stateDirectory } from '../modal/lock.js'

/** `/a//b/../c/` is `/a/c`: two spellings of one place must not count as two. */
export function cleanPath (path: string): string {
  return posix.resolve('/', path)
}

export function isWithin (path: string, other: string): boolean {
  return `${path}/`.startsWith(other === '/' ? '/' : `${other}/`)
}

/** What the kernel shows as files. */
const kernel = ['/proc', '/sys', '/dev']
/** Without these nothing runs. */
const programs = ['', '/usr', '/usr/local'].flatMap((path) =>
  ['bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32', 'libexec'].map((name) => `${path}/${name}`))
/** Nothing at or below these is a workspace: what runs needs them, or keeps its state there. */
const system = [...kernel, ...programs, '/boot', '/run', '/var/run', '/__modal', stateDirectory]
/** Hold directories like those; others below them may be a workspace. */
const parents = ['/usr', '/usr/local', '/usr/share', '/usr/include', '/etc', '/var', '/var/lib', posix.dirname(stateDirectory)]

/**
 * A directory that is mounted, or stored as a workspace: over the image's own there would be nothing left to run.
 * @throws {AppError} BAD_REQUEST naming the field.
 */
export function checkWorkspacePath (field: string, path: string): void {
  if (system.some((other) => isWithin(path, other)) || parents.includes(path)) throw refusal(field, path)
}

/** @throws {AppError} BAD_REQUEST naming the field, where no command could begin. */
export function checkWorkdir (field: string, path: string): void {
  if (kernel.some((other) => isWithin(path, other))) throw refusal(field, path)
}

function refusal (field: string, path: string): AppError {
  return new AppError('BAD_REQUEST', {
    message: `${field} cannot be ${path}: that directory belongs to the system.`,
    hint: 'Use a directory of its own, such as /workspace, /data or one below /home.'
  })
}
