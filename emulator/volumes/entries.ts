import {
  chmodSync, closeSync, constants, fstatSync, lchownSync, lstatSync, lutimesSync, mkdirSync, readSync, renameSync,
  rmdirSync, symlinkSync, unlinkSync, utimesSync, writeFileSync, type Dirent, type Stats
} from 'node:fs'
import { copyFile, rm } from 'node:fs/promises'
import { attempt } from '../lib/attempt.js'
import { copyWithHoles } from './copy-with-holes.js'
import type { DirectoryHandle } from './directory-handle.js'

/** Files up to this size are copied synchronously: awaiting a call costs ten times as much as the call itself. */
const buffer = Buffer.alloc(256 * 1024)
/** Of `blocks` in what `stat` answers, whatever the file system's own is. */
const blockSize = 512

export interface Destination {
  path: string
  /** Where a copy is made, on the same file system: it replaces what is at `path` once all of it is there. */
  scratch: string
  /** Whether files are linked instead of copied, which needs no space: for trees that nobody writes to any more. */
  link: boolean
  /** Whether times are kept in whole seconds only, and each name of a file with several is a file of its own. */
  plain: boolean
}

/** Copies a file or link. Never writes into an existing file: committed states share it by hard link. */
export async function copyEntry (from: DirectoryHandle, entry: Dirent, destination: Destination): Promise<void> {
  const { path, scratch, plain } = destination
  const link = destination.link && !(plain && from.stats(entry.name).nlink > 1)
  try {
    const isMade = entry.isSymbolicLink()
      ? copyLink(from, entry.name, destination)
      : (link && linkFile(from, entry.name, destination)) || await copyContent(from, entry.name, destination)
    if (!isMade) return
    if (isDirectory(path)) await rm(path, { recursive: true, force: true })
    renameSync(scratch, path)
    // Between two names of one file, renaming does nothing.
    if (link) attempt(() => { unlinkSync(scratch) })
  } catch (error) {
    await rm(scratch, { force: true })
    throw error
  }
}

function copyLink (from: DirectoryHandle, name: string, { scratch: target, plain }: Destination): boolean {
  const stats = from.stats(name)
  // Setting attributes on anything but a link would follow it.
  if (!stats.isSymbolicLink()) return false
  symlinkSync(from.readLink(name), target)
  copyAttributes(target, stats, plain)
  return true
}

/** False where it can't be linked. */
function linkFile (from: DirectoryHandle, name: string, { scratch: target, plain }: Destination): boolean {
  if (attempt(() => { from.link(name, target); return true }) === undefined) return false
  const stats = statsOf(target)!
  if (stats.isFile()) {
    if (plain) copyAttributes(target, stats, plain)
    return true
  }
  unlinkSync(target)
  return false
}

async function copyContent (
  from: DirectoryHandle, name: string, { scratch: target, plain }: Destination
): Promise<boolean> {
  const file = from.openFile(name)
  try {
    const stats = fstatSync(file)
    if (!stats.isFile()) return false
    if (stats.size > buffer.length && stats.blocks * blockSize < stats.size) {
      await copyWithHoles(file, target)
    } else if (stats.size > buffer.length) {
      await copyFile(`/proc/self/fd/${file}`, target, constants.COPYFILE_FICLONE)
    } else {
      const length = readSync(file, buffer, 0, stats.size, 0)
      writeFileSync(target, buffer.subarray(0, length), { flag: 'wx', mode: 0o600 })
    }
    copyAttributes(target, stats, plain)
    return true
  } finally {
    closeSync(file)
  }
}

/** Makes a directory, replacing anything else of that name. */
export function makeDirectory ({ path, scratch, plain }: Destination, stats: Stats): void {
  if (isDirectory(path)) return copyAttributes(path, stats, plain)
  mkdirSync(scratch)
  try {
    copyAttributes(scratch, stats, plain)
    if (statsOf(path) !== undefined) unlinkSync(path)
    renameSync(scratch, path)
  } catch (error) {
    attempt(() => { rmdirSync(scratch) })
    throw error
  }
}

/** False for a link to a directory. */
export function isDirectory (path: string): boolean {
  return statsOf(path)?.isDirectory() ?? false
}

/** As lstat: a link is not followed. Undefined when nothing is there. */
export function statsOf (path: string): Stats | undefined {
  return attempt(() => lstatSync(path, { throwIfNoEntry: false }))
}

/** For plain names; much faster than `join`. */
export const childPath = (path: string, name: string): string => path === '' ? name : `${path}/${name}`

function copyAttributes (path: string, stats: Stats, plain: boolean) {
  const seconds = (ms: number) => plain ? Math.floor(ms / 1000) : ms / 1000
  const [atime, mtime] = [seconds(stats.atimeMs), seconds(stats.mtimeMs)]
  lchownSync(path, stats.uid, stats.gid)
  if (stats.isSymbolicLink()) {
    lutimesSync(path, atime, mtime)
  } else {
    chmodSync(path, stats.mode & 0o7777)
    utimesSync(path, atime, mtime)
  }
}
