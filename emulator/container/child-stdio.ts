import { readdirSync, readFileSync } from 'node:fs'
import { open, unlink, type FileHandle } from 'node:fs/promises'

const closeOnExec = 0o2000000

/** A file without a name: only holders of its descriptor can read it, and it is freed with the last of them. */
export async function unlinkedFile (path: string, text: string): Promise<FileHandle> {
  const file = await open(path, 'wx', 0o600)
  try {
    await unlink(path)
    await file.writeFile(text)
    return file
  } catch (error) {
    await file.close()
    throw error
  }
}

/**
 * The descriptors of a child that enters a container: the given ones, and `blank` in place of those that this process
 * inherited. Node marks what it opens close-on-exec, but passes on what it inherited, and a host directory among those
 * would be a way out of the container.
 */
export function maskInherited<T extends number | 'pipe' | 'ignore'> (given: T[], blank: number): Array<T | number | 'ignore'> {
  const stdio: Array<T | number | 'ignore'> = [...given]
  for (const fd of inherited().filter((fd) => fd >= given.length)) {
    while (stdio.length < fd) stdio.push('ignore')
    stdio[fd] = blank
  }
  return stdio
}

function inherited (): number[] {
  inheritedCache ??= readdirSync('/proc/self/fd').map(Number).filter((fd) => fd > 2 && !closesOnExec(fd))
  return inheritedCache
}

let inheritedCache: number[] | undefined

function closesOnExec (fd: number): boolean {
  try {
    const [, flags] = /^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')) ?? []
    return (Number.parseInt(flags ?? '0', 8) & closeOnExec) !== 0
  } catch {
    // The descriptor that listed the directory is closed by now.
    return true
  }
}
