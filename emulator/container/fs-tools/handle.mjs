/**
 * An open file behind the program's standard streams, for SDKs that open files. A request is a frame on stdin, its
 * answer a frame on stdout: two lengths (32 bits, big-endian), JSON of the first and bytes of the second.
 */
import fs from 'node:fs'

const maxReadBytes = 100 * 1024 ** 2
const chunkBytes = 64 * 1024
const whence = { start: 0, current: 1, end: 2 }

/** Python's modes, without `b`, which means nothing here. */
const flags = { r: 'r', 'r+': 'r+', w: 'w', 'w+': 'w+', a: 'a', 'a+': 'a+', x: 'wx', 'x+': 'wx+' }

export async function handle ({ path, mode }) {
  const read = reader(process.stdin)
  let file
  const answered = answer(() => {
    file = new OpenFile(path, mode)
    return Buffer.alloc(0)
  })
  if (!answered) return
  for (let head; (head = await read(8)) !== undefined;) {
    const request = JSON.parse(await read(head.readUInt32BE(0)))
    const data = await read(head.readUInt32BE(4))
    answer(() => file[request.operation](request, data) ?? Buffer.alloc(0))
    if (request.operation === 'close') return
  }
}

/** Whether it went well, which is told in any case. */
function answer (act) {
  let [header, data] = [{}, Buffer.alloc(0)]
  try {
    data = act()
  } catch ({ errno, code, message }) {
    header = { errno: Math.abs(errno ?? 0), message: code === undefined ? message : describe(message) }
  }
  const json = Buffer.from(JSON.stringify(header))
  const lengths = Buffer.alloc(8)
  lengths.writeUInt32BE(json.length, 0)
  lengths.writeUInt32BE(data.length, 4)
  for (const part of [lengths, json, data]) process.stdout.write(part)
  return header.message === undefined
}

const describe = (message) => message.replace(/^[A-Z0-9]+: /, '')

/** Reads a number of bytes from a stream; undefined once it has ended. */
function reader (stream) {
  const chunks = stream[Symbol.asyncIterator]()
  let rest = Buffer.alloc(0)
  return async (length) => {
    const parts = [rest]
    for (let size = rest.length; size < length; size += parts.at(-1).length) {
      const { value, done } = await chunks.next()
      if (done) return undefined
      parts.push(value)
    }
    const all = Buffer.concat(parts)
    rest = all.subarray(length)
    return all.subarray(0, length)
  }
}

/** With a position of its own, as Node has no `lseek`. */
class OpenFile {
  #descriptor
  #position

  constructor (path, mode) {
    const known = flags[mode.replace('b', '')]
    if (known === undefined) throw failure(22, `Invalid file mode: ${mode}`)
    this.#descriptor = fs.openSync(path, known)
    const stats = fs.fstatSync(this.#descriptor)
    if (stats.isDirectory()) throw failure(21, `illegal operation on a directory, open '${path}'`)
    this.#position = known.startsWith('a') ? stats.size : 0
  }

  read ({ n }) {
    const left = Math.max(0, this.#size() - this.#position)
    if (n === undefined && left > maxReadBytes) throw failure(27, `file too large: ${left} bytes, at most ${maxReadBytes} can be read at once`)
    // Of what has no size, such as files in /proc, as much as there is.
    const wanted = n ?? (left === 0 ? maxReadBytes : left)
    const parts = []
    for (let length = 0; length < Math.min(wanted, maxReadBytes);) {
      const part = this.#next(Math.min(wanted - length, chunkBytes))
      if (part.length === 0) break
      parts.push(part)
      length += part.length
    }
    return Buffer.concat(parts)
  }

  /** With its line feed, unless it is the last. */
  readLine () {
    let end = this.#position
    for (let part; (part = this.#peek(end)).length > 0;) {
      const feed = part.indexOf(10)
      end += feed < 0 ? part.length : feed + 1
      if (feed >= 0) break
    }
    return this.read({ n: end - this.#position })
  }

  write (_request, data) {
    for (let offset = 0; offset < data.length;) {
      offset += fs.writeSync(this.#descriptor, data, offset, data.length - offset, this.#position + offset)
    }
    this.#position += data.length
  }

  /** Nothing is kept back here. */
  flush () {}

  seek ({ offset, whence: from }) {
    const base = from === whence.end ? this.#size() : from === whence.current ? this.#position : 0
    if (base + offset < 0) throw failure(22, 'invalid argument, seek before the start')
    this.#position = base + offset
  }

  close () {
    fs.closeSync(this.#descriptor)
  }

  #next (length) {
    const part = this.#peek(this.#position, length)
    this.#position += part.length
    return part
  }

  #peek (position, length = chunkBytes) {
    const buffer = Buffer.alloc(length)
    return buffer.subarray(0, fs.readSync(this.#descriptor, buffer, 0, length, position))
  }

  #size () {
    return fs.fstatSync(this.#descriptor).size
  }
}

const failure = (errno, message) => Object.assign(new Error(message), { errno })
