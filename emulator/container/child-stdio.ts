import { readdirSync, readFileSync } from 'node:fs'
import { open, unlink, type FileHandle } from 'node:fs/promises'

const closeOnExec = 0o2000000

/** A file that only who holds it can read, and that is gone with the last descriptor. */
export async function unnamedFile (path: string, text: string): Promise<FileHandle> {
  const file = await open(path, 'wx', 0o600)
  await file.writeFile(text)
  await unlink(path)
  return file
}

/**
 * The descriptors of a child that goes into a container: the given ones, and `blank` in place of those that this
 * process was itself started with. Node closes in a child what it has opened itself, but leaves it those: a directory
 * of the host among them would be a way out.
 */
export function onlyThese<T extends number | 'pipe' | 'ignore'> (given: T[], blank: number): Array<T | number | 'ignore'> {
  const stdio: Array<T | number | 'ignore'> = [...given]
  for (const fd of inherited().filter((fd) => fd >= given.length)) {
    while (stdio.length < fd) stdio.push('ignore')
    stdio[fd] = blank
  }
  return stdio
}

function inherited (): number[] {
  known ??= readdirSync('/proc/self/fd').map(Number).filter((fd) => fd > 2 && !closesOnExec(fd))
  return known
}

let known: number[] | undefined

function closesOnExec (fd: number): boolean {
  try {
    const [, flags] = /^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')) ?? []
    return (Number.parseInt(flags ?? '0', 8) & closeOnExec) !== 0
  } catch {
    // The one that listed the others is closed.
    return true
  }
}
