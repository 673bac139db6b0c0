import { constants, type Stats } from 'node:fs'
import { chmod, copyFile, lchown, lstat, lutimes, mkdir, rm, symlink, utimes } from 'node:fs/promises'
import type { HeldDirectory } from './held-directory.js'

/** Copies a file or link. Never writes into an existing file: states that must not change share it by hard link. */
export async function copyEntry (from: HeldDirectory, name: string, target: string): Promise<void> {
  const seen = await from.stats(name)
  if (seen.isSymbolicLink()) {
    const link = await from.link(name)
    await rm(target, { recursive: true, force: true })
    await symlink(link, target)
    return await keepAttributes(target, seen)
  }
  const file = await from.file(name)
  try {
    const stats = await file.stat()
    if (!stats.isFile()) return
    await rm(target, { recursive: true, force: true })
    await copyFile(`/proc/self/fd/${file.fd}`, target, constants.COPYFILE_FICLONE)
    await keepAttributes(target, stats)
  } finally {
    await file.close()
  }
}

/** Makes a directory, in place of whatever else has its name. */
export async function makeDirectory (target: string, stats: Stats): Promise<void> {
  if (!await isDirectory(target)) await rm(target, { force: true })
  await mkdir(target, { recursive: true })
  await keepAttributes(target, stats)
}

/** Not for a link to one. */
export async function isDirectory (path: string): Promise<boolean> {
  return await lstat(path).then((stats) => stats.isDirectory(), () => false)
}

async function keepAttributes (path: string, stats: Stats) {
  await lchown(path, stats.uid, stats.gid)
  if (stats.isSymbolicLink()) {
    await lutimes(path, stats.atime, stats.mtime)
  } else {
    await chmod(path, stats.mode & 0o7777)
    await utimes(path, stats.atime, stats.mtime)
  }
}
