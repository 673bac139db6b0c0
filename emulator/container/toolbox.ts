import { chmod, constants, copyFile, cp, link, mkdir, realpath, rename, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { hostTool, runOnHost } from './host.js'

/** Programs that the emulator runs inside containers, whose images may lack them. */
const programs = ['sh', 'setpriv', 'script', 'stty', 'sleep', 'mkdir', 'rm', 'cp', 'chown', 'perl']

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url))
/** The programs behind the SDK's filesystem calls. */
export const fsTools = here('fs-tools')
/** The program that becomes another user. */
export const asUser = here('as-user.sh')

/** The command line that runs one of these programs inside a container. */
export const toolboxCommand = (program: string): string[] =>
  ['/__modal/rt/ld.so', '--library-path', '/__modal/rt/lib', `/__modal/rt/${program}`]

/** Environment for `script`, which runs $SHELL: that is a single path, so the library path goes in a variable. */
export const shellForScript = { SHELL: '/__modal/rt/shell', LD_LIBRARY_PATH: '/__modal/rt/lib' }
const shellText = '#!/__modal/rt/ld.so /__modal/rt/sh\neval "$2"\n'

/**
 * A directory with the emulator's own programs, their libraries and loader, and this Node: mounted read-only at
 * /__modal in every container, so that any image works, whatever its C library.
 */
export async function makeToolbox (directory: string): Promise<void> {
  const fresh = `${directory}.new`
  await rm(fresh, { recursive: true, force: true })
  await mkdir(join(fresh, 'rt', 'lib'), { recursive: true })
  // An image's user runs programs in it as well, whatever the umask of the emulator.
  for (const name of ['', 'rt', 'rt/lib']) await chmod(join(fresh, name), 0o755)
  await mkdir(join(fresh, 'old'))
  const paths = [...await Promise.all(programs.map(hostTool)), process.execPath]
  for (const path of paths) {
    await linkOrCopy(path, join(fresh, 'rt', path === process.execPath ? 'node' : basename(path)))
  }
  await copyLibraries(paths, join(fresh, 'rt'))
  await cp(fsTools, join(fresh, 'rt', 'fs-tools'), { recursive: true })
  await copyFile(asUser, join(fresh, 'rt', basename(asUser)))
  await writeFile(join(fresh, 'rt', 'shell'), shellText)
  await chmod(join(fresh, 'rt', 'shell'), 0o755)
  await rm(directory, { recursive: true, force: true })
  await rename(fresh, directory)
}

async function copyLibraries (programs: string[], target: string) {
  const { stdout } = await runOnHost(await hostTool('ldd'), ...programs)
  const needed = [...stdout.matchAll(/=> (\/\S+)|^\s*(\/\S*ld-[^\s:]+)/gm)]
  const libraries = new Set(needed.map(([, library]) => library).filter((library) => library !== undefined))
  for (const library of libraries) await copyFile(library, join(target, 'lib', basename(library)))
  const loader = needed.map(([, , loader]) => loader).find((loader) => loader !== undefined)
  if (loader !== undefined) await copyFile(loader, join(target, 'ld.so'))
  await chmod(join(target, 'ld.so'), 0o755)
}

/** A hard link where possible (Node and Claude are large), else a copy. */
export async function linkOrCopy (source: string, target: string): Promise<void> {
  await link(await realpath(source), target).catch(async () => {
    await copyFile(source, target, constants.COPYFILE_FICLONE)
    await chmod(target, 0o755)
  })
}
