import { execFile } from 'node:child_process'
import { access, constants, lstat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const systemDirectories = ['/usr/bin', '/bin', '/usr/sbin', '/sbin']
/** Where a system's programs are: the host's, and an image's that sets no PATH. */
export const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/**
 * A command line that starts with an empty environment, whatever the caller's is: nothing of the host's environment
 * reaches a container, and nothing that a user sets reaches a program of the host.
 */
export const withoutEnvironment = (argv: string[]): string[] => ['/usr/bin/env', '-i', ...argv]

/** The same for host programs that run others: PATH leads to the system's, and nothing else is set. */
export const onHost = (argv: string[]): string[] => withoutEnvironment([`PATH=${defaultPath}`, ...argv])

/** Runs a host program to its end. @throws {Error} with `stderr` when it fails */
export async function runOnHost (...argv: string[]): Promise<{ stdout: string, stderr: string }> {
  const [program, ...rest] = onHost(argv)
  return await run(program!, rest, { env: {}, cwd: '/', maxBuffer: 16 * 1024 ** 2 })
}

/** The path of a host program. @throws {Error} when it is in none of the system's directories */
export async function hostTool (name: string): Promise<string> {
  for (const directory of systemDirectories) {
    const path = join(directory, name)
    if (await access(path, constants.X_OK).then(() => true, () => false)) return path
  }
  throw new Error(`${name} is missing: install it (it belongs to util-linux, coreutils or perl-base)`)
}

/**
 * Removes trees, including what overlayfs leaves behind (directories that an ordinary user may not even list), trees
 * nested deeper than a path can be long, and files that are removed concurrently. It runs `rm`, because removing
 * thousands of files in this process would block everything else.
 */
export async function removeTree (...paths: string[]): Promise<void> {
  const present = await Promise.all(paths.map(async (path) => await lstat(path).then(() => [path], () => [])))
  const trees = present.flat()
  if (trees.length === 0) return
  const remove = async () => { await runOnHost('rm', '-rf', '--', ...trees) }
  await remove().catch(async () => {
    await runOnHost('chmod', '-Rf', 'u+rwX', ...trees).catch(() => {})
    await remove()
  })
}
