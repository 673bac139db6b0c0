import { basename, join } from 'node:path'
import { shellQuote } from '../lib/shell.js'
import type { Engine } from './engine.js'
import { cleanLayer, volatilePaths } from './layer.js'
import { enterExisting, type OverlayMount, steps, withoutDirectory } from './setup.js'
import { ContainerError } from './types.js'

/** `cp` says so of what was removed while it copied: a container goes on running meanwhile. */
const removedMeanwhile = /^cp: cannot (stat|open|access|read) .*: No such file or directory$/

/** Copies trees, from a script with the host's view, with all that overlayfs keeps beside the files. */
const copy = (from: string, to: string) =>
  `mkdir -p ${shellQuote(to)}; cp -a --reflink=auto --sparse=auto -- ${from} ${shellQuote(to)} || failed=1`
const end = '[ ! "$failed" ]'

/**
 * Copies what a running container has written to / and /usr, as a layer. What it changes meanwhile may be in it or not.
 * /tmp belongs to it, unlike to the layer of a build.
 */
export async function copyLayer (engine: Engine, overlays: OverlayMount[], directory: string): Promise<void> {
  const copies = overlays.map(({ upper }, index) =>
    copy(`${shellQuote(upper)}/.`, join(directory, index === 0 ? 'root' : basename(upper))))
  await run(engine, [...copies, end].join('\n'))
  await cleanLayer(join(directory, 'root'), volatilePaths.filter((name) => name !== 'tmp'))
}

/** Copies a directory as it looks in the container: with what is mounted there. */
export async function copyDirectory (engine: Engine, root: string, path: string, target: string): Promise<void> {
  await run(engine, `${enterExisting(root, steps(path))}
${copy('.', target)}\n${end}`, path)
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
