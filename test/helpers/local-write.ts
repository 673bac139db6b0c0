import { chmod, lstat, lutimes, mkdir, open, rm, rmdir, symlink, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { settableTime } from '../../services/sync/workspace/stat-records.js'
import type { WriteEntry } from '../../services/sync/workspace/workspace.js'

/** Writes an entry on this machine, in place of anything but a directory that is not empty. */
export async function writeEntry (place: string, entry: WriteEntry): Promise<void> {
  const { type, mode, mtime, target } = entry
  if (type === 'file') return await writeFile(place, entry)
  if (type === 'symlink') {
    await replace(place, async () => await symlink(target!, place))
  } else {
    if ((await lstatIfAny(place))?.isDirectory() === false) await rm(place)
    await mkdir(place, { recursive: true })
    await chmod(place, mode)
  }
  await lutimes(place, settableTime(mtime), settableTime(mtime))
}

async function writeFile (place: string, { mode, mtime, size, body }: WriteEntry) {
  const file = await replace(place, async () => await open(place, 'wx', 0o600))
  try {
    let written = 0
    for await (const chunk of body instanceof Uint8Array ? [body] : body ?? []) {
      written += (await file.write(chunk)).bytesWritten
    }
    if (written !== size) throw new Error('a body ended early')
    await file.chmod(mode)
    await file.utimes(settableTime(mtime), settableTime(mtime))
  } finally {
    await file.close()
  }
}

/** Creates something. Usually nothing is in its place and its directory exists, so that is tried first. */
async function replace<T> (place: string, make: () => Promise<T>): Promise<T> {
  try {
    return await make()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT' && code !== 'EEXIST') throw error
  }
  await mkdir(dirname(place), { recursive: true })
  const existing = await lstatIfAny(place)
  if (existing !== undefined) await (existing.isDirectory() ? rmdir : unlink)(place)
  return await make()
}

async function lstatIfAny (place: string) {
  return await lstat(place).catch(() => undefined)
}
