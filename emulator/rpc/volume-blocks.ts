import { open, readFile } from 'node:fs/promises'
import { invalid } from '../control/status.js'
import type { Content } from '../transfers/contents.js'

/** Of a file's bytes, without the zeros at its end; once it was sent, with what was answered then. */
export interface Block { contentsSha256: Buffer, putResponse?: Buffer }

export interface BlockFile { path: string, size: number, mode?: number, blocks: Block[] }

/** Modal's. */
export const blockBytes = 8 * 1024 ** 2

/** The parts of a range in each block of a file. */
export function blocksOf (start: number, end: number): Array<{ start: number, length: number }> {
  const parts = []
  for (let at = start; at < end;) {
    const next = Math.min(end, (Math.floor(at / blockBytes) + 1) * blockBytes)
    parts.push({ start: at, length: next - at })
    at = next
  }
  return parts
}

/** @throws {StatusError} INVALID_ARGUMENT when files don't have as many blocks as their sizes need */
export function checkBlocks (files: BlockFile[]): void {
  for (const { path, size, blocks } of files) {
    const needed = Math.ceil(size / blockBytes)
    if (blocks.length !== needed) throw invalid(`${path}: ${size} bytes are ${needed} blocks, got ${blocks.length}`)
  }
}

/** Puts blocks together; zeros at the end of each become holes. @throws {StatusError} INVALID_ARGUMENT */
export async function writeBlocks (target: string, parts: Content[], size: number): Promise<void> {
  const file = await open(target, 'wx')
  try {
    await file.truncate(size)
    for (const [index, part] of parts.entries()) {
      const start = index * blockBytes
      if (start + part.size > size) throw invalid(`A block has ${part.size} bytes, more than the file from there on`)
      await file.write(await readFile(part.path), 0, part.size, start)
    }
  } finally {
    await file.close()
  }
}
