import { basename, join } from 'node:path'
import { shellQuote } from '../lib/shell.js'
import type { Engine } from './engine.js'
import { cleanLayer, volatilePaths } from './layer.js'
import { enterExisting, type OverlayMount, steps, withoutDirectory } from './setup.js'
import { toolboxCommand } from './toolbox.js'
import { ContainerError } from './types.js'

/** `cp` says so of what was removed or renamed below the directory while it copied: a container goes on meanwhile. */
const removedMeanwhile = /^\S*cp: cannot (stat|open|access|read) (?!'from\/\.':).*: No such file or directory$/

/** Where copies are made, and with what. */
export interface Workshop { engine: Engine, directory: string, toolbox: string }

/**
 * Copies a tree with all that overlayfs keeps beside the files, from a script with the host's view. `cp` goes by paths,
 * in which a container can replace any directory with a link at any time: it sees nothing but the two trees and itself.
 */
const copy = ({ directory, toolbox }: Workshop, from: string, to: string) => {
  const confined = `mount -t tmpfs -o mode=755 tmpfs "$2"
mkdir "$2/from" "$2/to" "$2/__modal"
mount -c --rbind "$1" "$2/from"
mount --bind "$3" "$2/to"
mount -o bind,ro,nosuid,nodev "$4" "$2/__modal"
exec chroot "$2" ${toolboxCommand('cp').join(' ')} -a --reflink=auto --sparse=auto from/. to`
  const paths = [from, join(directory, 'copy'), to, toolbox].map(shellQuote).join(' ')
  return `mkdir -p ${shellQuote(join(directory, 'copy'))} ${shellQuote(to)}
unshare -m --propagation private sh -ec ${shellQuote(confined)} sh ${paths} || failed=1`
}
const end = '[ ! "$failed" ]'

/**
 * Copies what a running container has written to / and /usr, as a layer. What it changes meanwhile may be in it or not.
 * /tmp belongs to it, unlike to the layer of a build.
 */
export async function copyLayer (workshop: Workshop, overlays: OverlayMount[], directory: string): Promise<void> {
  const copies = overlays.map(({ upper }, index) =>
    copy(workshop, upper, join(directory, index === 0 ? 'root' : basename(upper))))
  await run(workshop.engine, [...copies, end].join('\n'))
  await cleanLayer(join(directory, 'root'), volatilePaths.filter((name) => name !== 'tmp'))
}

/** Copies a directory as it looks in the container: with what is mounted there. */
export async function copyDirectory (workshop: Workshop, root: string, path: string, target: string): Promise<void> {
  await run(workshop.engine, `${enterExisting(root, steps(path))}
${copy(workshop, '.', target)}\n${end}`, path)
}

async function run (engine: Engine, script: string, path = '/'): Promise<void> {
  await engine.onHost(script).catch((error: Error & { code?: unknown, stderr?: string }) => {
    if (error instanceof ContainerError) throw error
    const missing = withoutDirectory(path, error)
    if (missing !== undefined) throw missing
    const lines = (error.stderr ?? '').trim().split('\n')
    if (lines.every((line) => removedMeanwhile.test(line))) return
    throw new ContainerError('failed', `copying ${path} failed`, { cause: error })
  })
}
