import { mkdir, rename, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { isDirectory } from '../volumes/entries.js'
import { removeTree } from './host.js'
import type { OverlayMount } from './setup.js'

/** Created afresh in every container. /run is not among them: what a build puts there belongs to the image. */
export const volatilePaths = ['dev', 'proc', 'sys', 'tmp', '__modal']

/** Turns what an ended container wrote to / and /usr into the directories of a layer, replacing an older one. */
export async function keepLayer ([root, ...others]: OverlayMount[], directory: string): Promise<void> {
  await cleanLayer(root!.upper, volatilePaths)
  await removeTree(directory)
  await mkdir(directory, { recursive: true })
  await rename(root!.upper, join(directory, 'root'))
  for (const { path, upper } of others) await rename(upper, join(directory, basename(path)))
}

/** Removes from the root of a layer what every container has of its own. */
export async function cleanLayer (root: string, volatile: string[]): Promise<void> {
  for (const name of volatile) await removeTree(join(root, name))
  // It may have been replaced with a link.
  if (await isDirectory(join(root, 'etc'))) await rm(join(root, 'etc', 'resolv.conf'), { recursive: true, force: true })
}
