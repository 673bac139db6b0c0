import { member } from './archive.js'
import { Gate } from './flow.js'
import { Held } from './held.js'
import type { Mover } from './mover.js'
import { tarEnd } from './tar.js'
import type { WriteEntry } from './workspace.js'

/** One tar waits for the file system most of the time. */
const lanesAtOnce = 4
const batchBytes = 256 * 1024
/** As much again may be on its way to a tar. */
const batchesAtOnce = 2
const hashesAtOnce = 8

/**
 * Writes entries by a mover, files side by side. What is no file waits for everything before it, and what follows for
 * it: a symlink or the mode of a directory must not get in the way of a file.
 * @returns the complaints of tar. @throws {CourierLost}
 */
export async function writeBy (mover: Mover, entries: AsyncIterable<WriteEntry>): Promise<string> {
  const lanes = Array.from({ length: lanesAtOnce }, (_, number) => new Lane(mover, number))
  const complaints: string[] = []
  const settle = async () => { complaints.push(...await Promise.all(lanes.map((lane) => lane.end()))) }
  let files = false
  let count = 0
  try {
    for await (const entry of entries) {
      const isFile = entry.type === 'file'
      if (files !== isFile) await settle()
      files = isFile
      const lane = lanes[isFile ? count++ % lanesAtOnce : 0]!
      for await (const piece of member(entry)) await lane.write(piece)
    }
    await settle()
  } catch (error) {
    await mover.ask('stop', {}).catch(() => {})
    throw error
  }
  return complaints.join('')
}

/** SHA-256 of files, by path; those that can't be read are missing. @throws {CourierLost} */
export async function hashBy (mover: Mover, paths: string[]): Promise<Map<string, string>> {
  const hashes = new Map<string, string>()
  const gate = new Gate(hashesAtOnce)
  let failure: unknown
  for (const path of paths) {
    await gate.enter(0, async () => {
      const { hash } = await mover.ask('hash', { path }).catch((error: unknown) => { failure ??= error; return {} as { hash?: string } })
      if (hash !== undefined) hashes.set(path, hash)
    })
    if (failure !== undefined) break
  }
  await gate.idle()
  if (failure !== undefined) throw failure
  return hashes
}

/** One of the tars that write there. */
class Lane {
  readonly #mover: Mover
  readonly #number: number
  #open = false
  #message: (string | number)[] = []
  #bytes: Uint8Array[] = []
  #size = 0
  #sent: Promise<unknown>[] = []

  constructor (mover: Mover, number: number) {
    this.#mover = mover
    this.#number = number
  }

  async write (piece: Uint8Array | Held): Promise<void> {
    this.#open = true
    if (piece instanceof Held) {
      this.#pack()
      this.#message.push(piece.number)
    } else this.#bytes.push(piece)
    this.#size += piece.length
    if (this.#size >= batchBytes) await this.#send()
  }

  /** @returns the complaints, once everything is written. */
  async end (): Promise<string> {
    if (!this.#open) return ''
    this.#open = false
    this.#bytes.push(tarEnd)
    await this.#send()
    await Promise.all(this.#sent.splice(0))
    const { exitCode, complaints } = await this.#mover.ask('end', { lane: this.#number })
    return exitCode === 0 ? '' : complaints!
  }

  #pack () {
    if (this.#bytes.length > 0) this.#message.push(Buffer.concat(this.#bytes).toString('base64'))
    this.#bytes = []
  }

  async #send () {
    this.#pack()
    const sent = this.#mover.ask('write', { lane: this.#number, pieces: this.#message })
    sent.catch(() => {})
    this.#message = []
    this.#size = 0
    if (this.#sent.push(sent) > batchesAtOnce) await this.#sent.shift()
  }
}
