import { chmod, lstat, lutimes, mkdir, open, rm, rmdir, symlink, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { settableTime } from '../../services/sync/workspace/stat-records.js'
import type { WriteEntry } from '../../services/sync/workspace/workspace.js'

/** Puts an entry in its place on this machine, whatever is there but a directory that is not empty. */
export async function writeEntry (place: string, entry: WriteEntry): Promise<void> {
  const { type, mode, mtime, target } = entry
  if (type === 'file') return await writeFile(place, entry)
  if (type === 'symlink') {
    await inPlace(place, async () => await symlink(target!, place))
  } else {
    if ((await look(place))?.isDirectory() === false) await rm(place)
    await mkdir(place, { recursive: true })
    await chmod(place, mode)
  }
  await lutimes(place, settableTime(mtime), settableTime(mtime))
}

async function writeFile (place: string, { mode, mtime, size, body }: WriteEntry) {
  const file = await inPlace(place, async () => await open(place, 'wx', 0o600))
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

/** Makes what is not there: most often nothing is in its way, and its directory is there. */
async function inPlace<T> (place: string, make: () => Promise<T>): Promise<T> {
  try {
    return await make()
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT' && code !== 'EEXIST') throw error
  }
  await mkdir(dirname(place), { recursive: true })
  const existing = await look(place)
  if (existing !== undefined) await (existing.isDirectory() ? rmdir : unlink)(place)
  return await make()
}

async function look (place: string) {
  return await lstat(place).catch(() => undefined)
}
