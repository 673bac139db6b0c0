import {
  chmodSync, closeSync, constants, fstatSync, lchownSync, lstatSync, lutimesSync, mkdirSync, readSync,
  symlinkSync, unlinkSync, utimesSync, writeFileSync, type Dirent, type Stats
} from 'node:fs'
import { copyFile, rm } from 'node:fs/promises'
import type { DirectoryHandle } from './directory-handle.js'

/** Files up to this size are copied synchronously: awaiting a call costs ten times as much as the call itself. */
const buffer = Buffer.alloc(256 * 1024)

/** Copies a file or link. Never writes into an existing file: committed states share it by hard link. */
export async function copyEntry (from: DirectoryHandle, entry: Dirent, target: string): Promise<void> {
  if (entry.isSymbolicLink()) {
    const stats = from.stats(entry.name)
    // Setting attributes on anything but a link would follow it.
    if (!stats.isSymbolicLink()) return
    const link = from.readLink(entry.name)
    await removeExisting(target)
    symlinkSync(link, target)
    return copyAttributes(target, stats)
  }
  const file = from.openFile(entry.name)
  try {
    const stats = fstatSync(file)
    if (!stats.isFile()) return
    await removeExisting(target)
    if (stats.size > buffer.length) {
      await copyFile(`/proc/self/fd/${file}`, target, constants.COPYFILE_FICLONE)
    } else {
      const length = readSync(file, buffer, 0, stats.size, 0)
      writeFileSync(target, buffer.subarray(0, length), { flag: 'wx', mode: 0o600 })
    }
    copyAttributes(target, stats)
  } finally {
    closeSync(file)
  }
}

/** Makes a directory, replacing anything else of that name. */
export function makeDirectory (target: string, stats: Stats): void {
  const there = statsOf(target)
  if (there !== undefined && !there.isDirectory()) unlinkSync(target)
  mkdirSync(target, { recursive: true })
  copyAttributes(target, stats)
}

/** False for a link to a directory. */
export function isDirectory (path: string): boolean {
  return statsOf(path)?.isDirectory() ?? false
}

/** As lstat: a link is not followed. Undefined when nothing is there. */
export function statsOf (path: string): Stats | undefined {
  return attempt(() => lstatSync(path, { throwIfNoEntry: false }))
}

/** Undefined when the call throws: for files that may have vanished, or that may not be read. */
export function attempt<T> (work: () => T): T | undefined {
  try {
    return work()
  } catch {}
}

/** For plain names; much faster than `join`. */
export const childPath = (path: string, name: string): string => path === '' ? name : `${path}/${name}`

async function removeExisting (path: string) {
  if (statsOf(path) !== undefined) await rm(path, { recursive: true, force: true })
}

function copyAttributes (path: string, stats: Stats) {
  lchownSync(path, stats.uid, stats.gid)
  if (stats.isSymbolicLink()) {
    lutimesSync(path, stats.atimeMs / 1000, stats.mtimeMs / 1000)
  } else {
    chmodSync(path, stats.mode & 0o7777)
    utimesSync(path, stats.atimeMs / 1000, stats.mtimeMs / 1000)
  }
}
