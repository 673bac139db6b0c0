import { fsTools } from '../container/command.js'
import type { Container, Process } from '../container/types.js'

/** What the operating system said of a file, or the emulator in its name. */
export class FileError extends Error {
  /** As on Linux; 0 where there is none. */
  readonly errno: number

  constructor (errno: number, message: string) {
    super(message)
    this.name = 'FileError'
    this.errno = errno
  }
}

interface Request { operation: 'read' | 'readLine' | 'write' | 'flush' | 'seek' | 'close' }

const nothing: Buffer = Buffer.alloc(0)

/** A file that a program in the container keeps open, so that it is the same one whatever happens to its name. */
export class OpenFile {
  readonly #process: Process
  readonly #output: AsyncIterator<Buffer>
  #rest = nothing
  /** Operations take place in the order of their calls. */
  #last: Promise<unknown>

  private constructor (process: Process) {
    this.#process = process
    this.#output = process.stdout.read(0)[Symbol.asyncIterator]()
    this.#last = Promise.resolve()
  }

  /**
   * @param mode as Python has them: `r`, `w+`, `ab` ...
   * @throws {FileError}
   */
  static async open (container: Container, path: string, mode: string): Promise<OpenFile> {
    const process = await container.exec({ command: [fsTools, JSON.stringify({ Handle: { path, mode } })] })
    const file = new OpenFile(process)
    process.exited.then(() => process.drained).then(() => file.#release()).catch(() => {})
    await file.#answer()
    return file
  }

  /**
   * What was read; nothing, of other operations.
   * @throws {FileError}
   */
  async call (request: Request & Record<string, unknown>, data = nothing): Promise<Buffer> {
    const call = this.#last.catch(() => {}).then(async () => {
      const json = Buffer.from(JSON.stringify(request))
      const lengths = Buffer.alloc(8)
      lengths.writeUInt32BE(json.length, 0)
      lengths.writeUInt32BE(data.length, 4)
      await this.#process.stdin.write(Buffer.concat([lengths, json, data])).catch(() => { throw closed() })
      return await this.#answer()
    })
    this.#last = call
    return await call
  }

  async #release (): Promise<void> {
    await this.#output.return?.()
    await this.#process.discard()
  }

  async #answer (): Promise<Buffer> {
    const lengths = await this.#read(8)
    const { errno = 0, message } = JSON.parse((await this.#read(lengths.readUInt32BE(0))).toString())
    const data = await this.#read(lengths.readUInt32BE(4))
    if (message !== undefined) throw new FileError(errno, message)
    return data
  }

  async #read (length: number): Promise<Buffer> {
    const parts = [this.#rest]
    for (let size = this.#rest.length; size < length;) {
      const { value, done } = await this.#output.next()
      if (done) throw closed()
      parts.push(value)
      size += value.length
    }
    const all = Buffer.concat(parts)
    this.#rest = all.subarray(length)
    return all.subarray(0, length)
  }
}

const closed = () => new FileError(0, 'the file is closed')
