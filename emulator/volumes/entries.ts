import {
  chmodSync, closeSync, constants, fstatSync, lchownSync, lstatSync, lutimesSync, mkdirSync, readSync,
  symlinkSync, unlinkSync, utimesSync, writeFileSync, type Dirent, type Stats
} from 'node:fs'
import { copyFile, rm } from 'node:fs/promises'
import type { HeldDirectory } from './directory-handle.js'

/** Files up to its size are copied at once: awaiting a call costs this process ten times what the call does. */
const buffer = Buffer.alloc(256 * 1024)

/** Copies a file or link. Never writes into an existing file: states that must not change share it by hard link. */
export async function copyEntry (from: HeldDirectory, entry: Dirent, target: string): Promise<void> {
  if (entry.isSymbolicLink()) {
    const stats = from.stats(entry.name)
    // Attributes of anything else would be given to what the link leads to.
    if (!stats.isSymbolicLink()) return
    const link = from.link(entry.name)
    await clear(target)
    symlinkSync(link, target)
    return keepAttributes(target, stats)
  }
  const file = from.file(entry.name)
  try {
    const stats = fstatSync(file)
    if (!stats.isFile()) return
    await clear(target)
    if (stats.size > buffer.length) {
      await copyFile(`/proc/self/fd/${file}`, target, constants.COPYFILE_FICLONE)
    } else {
      const length = readSync(file, buffer, 0, stats.size, 0)
      writeFileSync(target, buffer.subarray(0, length), { flag: 'wx', mode: 0o600 })
    }
    keepAttributes(target, stats)
  } finally {
    closeSync(file)
  }
}

/** Makes a directory, in place of whatever else has its name. */
export function makeDirectory (target: string, stats: Stats): void {
  const there = statsOf(target)
  if (there !== undefined && !there.isDirectory()) unlinkSync(target)
  mkdirSync(target, { recursive: true })
  keepAttributes(target, stats)
}

/** Not for a link to one. */
export function isDirectory (path: string): boolean {
  return statsOf(path)?.isDirectory() ?? false
}

/** Of the name itself, also when it is a link; undefined when there is none. */
export function statsOf (path: string): Stats | undefined {
  return tried(() => lstatSync(path, { throwIfNoEntry: false }))
}

/** For what may have vanished, or is not allowed. */
export function tried<T> (work: () => T): T | undefined {
  try {
    return work()
  } catch {}
}

/** For plain names, a good deal faster than `join`. */
export const below = (path: string, name: string): string => path === '' ? name : `${path}/${name}`

async function clear (path: string) {
  if (statsOf(path) !== undefined) await rm(path, { recursive: true, force: true })
}

function keepAttributes (path: string, stats: Stats) {
  lchownSync(path, stats.uid, stats.gid)
  if (stats.isSymbolicLink()) {
    lutimesSync(path, stats.atimeMs / 1000, stats.mtimeMs / 1000)
  } else {
    chmodSync(path, stats.mode & 0o7777)
    utimesSync(path, stats.atimeMs / 1000, stats.mtimeMs / 1000)
  }
}
