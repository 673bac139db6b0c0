import { mkdir, rename, rm } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { isDirectory } from '../volumes/entries.js'
import { removeTree } from './host.js'
import type { OverlayMount } from './setup.js'

/** Made anew in every container; /run stays, because what a build makes there is wanted there. */
const passing = ['dev', 'proc', 'sys', 'tmp', '__modal']

/** Keeps what an ended container wrote to its root and to /usr as a layer's directories, in place of an older one's. */
export async function keepLayer ([root, ...others]: OverlayMount[], directory: string): Promise<void> {
  for (const name of passing) await removeTree(join(root!.upper, name))
  // A build may have put a link in place of /etc.
  if (await isDirectory(join(root!.upper, 'etc'))) {
    await rm(join(root!.upper, 'etc', 'resolv.conf'), { recursive: true, force: true })
  }
  await removeTree(directory)
  await mkdir(directory, { recursive: true })
  await rename(root!.upper, join(directory, 'root'))
  for (const { path, upper } of others) await rename(upper, join(directory, basename(path)))
}
