import { spawnSync } from 'node:child_process'
import { copyFile, mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** Copies programs of this machine into an image, with what they need. */
export async function installPrograms (image: string, programs: string[]): Promise<void> {
  for (const program of programs) {
    const path = spawnSync('sh', ['-c', 'command -v "$1"', 'find', program], { encoding: 'utf8' }).stdout.trim()
    await copyInto(image, path)
    await installLibraries(image, path)
  }
}

/** Copies the libraries that a program needs to the same places in an image. */
export async function installLibraries (image: string, program: string): Promise<void> {
  const { stdout } = spawnSync('ldd', [program], { encoding: 'utf8' })
  for (const [path] of stdout.matchAll(/(?<=\s)\/\S+/g)) await copyInto(image, path)
}

async function copyInto (image: string, path: string) {
  await mkdir(join(image, dirname(path)), { recursive: true })
  await copyFile(path, join(image, path))
}
