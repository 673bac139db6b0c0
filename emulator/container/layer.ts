import { mkdir, rename, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { isDirectory } from '../volumes/entries.js'
import { removeTree } from './host.js'
import type { OverlayMount } from './setup.js'

/** Created afresh in every container. /run is not among them: what a build puts there belongs to the image. */
const volatilePaths = ['dev', 'proc', 'sys', 'tmp', '__modal']

/** Turns what an ended container wrote to / and /usr into the directories of a layer, replacing an older one. */
export async function keepLayer ([root, ...others]: OverlayMount[], directory: string): Promise<void> {
  for (const name of volatilePaths) await removeTree(join(root!.upper, name))
  // A build may have replaced /etc with a link.
  if (await isDirectory(join(root!.upper, 'etc'))) {
    await rm(join(root!.upper, 'etc', 'resolv.conf'), { recursive: true, force: true })
  }
  await removeTree(directory)
  await mkdir(directory, { recursive: true })
  await rename(root!.upper, join(directory, 'root'))
  for (const { path, upper } of others) await rename(upper, join(directory, basename(path)))
}
