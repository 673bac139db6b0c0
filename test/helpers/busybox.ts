import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { copyFile, mkdir, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { directory, file, symlink as link, type TarInput } from './oci-image.js'

const run = (script: string) => spawnSync('sh', ['-c', script], { encoding: 'utf8' }).stdout.trim()
const program = run('command -v busybox')

/** Why there can be no image of busybox alone: it has no libraries. */
export const noBusybox = run(`ldd '${program}' 2>&1`).includes('not a dynamic')
  ? false
  : 'busybox-static is not installed: a busybox that needs no libraries'

/** Makes `image/bin` a whole userland by itself, but for some of its programs. */
export async function installBusybox (image: string, without: string[] = []): Promise<void> {
  await mkdir(join(image, 'bin'), { recursive: true })
  await copyFile(program, join(image, 'bin', 'busybox'))
  for (const name of programs()) {
    if (!without.includes(name)) await symlink('busybox', join(image, 'bin', name))
  }
}

/** The same as entries of an image's layer. */
export function busyboxEntries (): TarInput[] {
  const busybox = file('bin/busybox', readFileSync(program), { mode: 0o755 })
  return [directory('bin'), busybox, ...programs().map((name) => link(`bin/${name}`, 'busybox'))]
}

const programs = () => run(`'${program}' --list`).split('\n').filter((name) => name !== 'busybox')
