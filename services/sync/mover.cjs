// Run in a sandbox by `node -e`: moves bytes between its files and S3, as one JSON message a line on standard input
// asks for. What lets it do so arrives there and is kept nowhere. Node 16 and later.
'use strict'
const { createHash } = require('crypto')
const fs = require('fs')
const http = require('http')
const https = require('https')
const net = require('net')
const { dirname, join } = require('path')
const { promisify } = require('util')

const root = process.argv[1]
const [open, read, write, lstat] = [fs.open, fs.read, fs.write, fs.lstat].map((call) => promisify(call))
const at = (path) => Buffer.from(join(root, path))
let server
/** What files are called until all of them is there; nobody else calls anything so. */
let partPrefix
const idleMs = 30_000
const gatherMs = 4
const smallSize = 65_536
/** Nobody asks for anything any more: whoever did is gone, and this must not keep the sandbox awake. */
const abandonedMs = 180_000

/** What waits to be sent, by number. */
const bodies = new Map()
const files = new Map()
/** Files that are being fetched. */
const parts = new Map()

const look = ({ mode, size, mtimeNs, ctimeNs, uid, gid }) => [mode, size, mtimeNs, ctimeNs, uid, gid].join(' ')
const hashOf = (body) => createHash('sha256').update(body).digest('hex')

async function openFile (path) {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants
  const file = await open(at(path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  const before = fs.fstatSync(file, { bigint: true })
  if (before.isFile()) return { file, path, before, now: Date.now() }
  fs.closeSync(file)
  throw Object.assign(new Error(), { code: 'ENOENT' })
}

/** What the name stands for now, if that is still the file that was opened. */
async function closeFile ({ file, path, before }) {
  fs.closeSync(file)
  const after = await lstat(at(path), { bigint: true }).catch(() => undefined)
  return after && after.ino === before.ino && after.dev === before.dev ? look(after) : ''
}

async function fill (file, body, start) {
  for (let filled = 0; filled < body.length;) {
    const count = await read(file, body, filled, body.length - filled, start + filled)
    const bytes = typeof count === 'number' ? count : count.bytesRead
    if (bytes === 0) return false
    filled += bytes
  }
  return true
}

/** Every URL is of the one origin: it is not taken apart each time. */
function request (url, method, headers, body) {
  return new Promise((resolve, reject) => {
    const path = url.slice(server.origin.length)
    const outgoing = server.scheme.request({ ...server.address, agent: server.agent, path, method, headers }, resolve)
    outgoing.setTimeout(idleMs, () => outgoing.destroy(Object.assign(new Error(), { code: 'Timeout' })))
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

async function refusal (response) {
  let text = ''
  for await (const chunk of response) if (text.length < 65_536) text += chunk
  const [, code] = /<Code>([A-Za-z0-9.]{1,100})<\/Code>/.exec(text) || []
  return { status: response.statusCode, date: response.headers.date, code: code || `Http${response.statusCode}` }
}

/** What can't be done here, whoever brings the bytes. */
class Refused extends Error {}

async function local (work) {
  try {
    return await work()
  } catch ({ code }) {
    throw Object.assign(new Refused(), { code })
  }
}

/** A file of another name beside its place: what was there stays until all of the new one is there. */
function createPart (part, path) {
  const place = join(root, path)
  const temporary = join(dirname(place), `${partPrefix}${Date.now()}-${part}`)
  const { O_WRONLY, O_CREAT, O_EXCL } = fs.constants
  const create = () => ({ place, temporary, file: fs.openSync(temporary, O_WRONLY | O_CREAT | O_EXCL, 0o600) })
  try {
    return create()
  } catch (error) {
    if (error.code !== 'ENOENT') throw error
    fs.mkdirSync(dirname(place), { recursive: true })
    return create()
  }
}

function writeNow (file, bytes, start) {
  for (let done = 0; done < bytes.length;) done += fs.writeSync(file, bytes, done, bytes.length - done, start + done)
}

/** By another thread: for more than a little it takes as long as everything else together. */
async function writeBeside (file, bytes, start) {
  for (let done = 0; done < bytes.length;) {
    done += (await write(file, bytes, done, bytes.length - done, start + done)).bytesWritten
  }
}

function metadataOf ({ headers }) {
  const names = Object.keys(headers).filter((name) => name.startsWith('x-amz-meta-'))
  return Object.fromEntries(names.map((name) => [name, headers[name]]))
}

const operations = {
  /** Whether S3 can be reached from here at all. */
  async hello ({ origin, ...more }) {
    partPrefix = more.partPrefix
    const { hostname, port, protocol } = new URL(origin)
    const scheme = protocol === 'https:' ? https : http
    const address = { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) || (protocol === 'https:' ? 443 : 80) }
    server = { origin, scheme, address, agent: new scheme.Agent({ keepAlive: true, maxSockets: 64 }) }
    const socket = net.connect(address)
    await new Promise((resolve, reject) => {
      socket.setTimeout(3000, () => reject(Object.assign(new Error(), { code: 'Timeout' })))
      socket.once('connect', resolve).once('error', reject)
    }).finally(() => socket.destroy())
  },
  /** Reads a whole file of at most `most` bytes. */
  async take ({ body, path, most }) {
    const opened = await openFile(path)
    let bytes
    let whole = false
    try {
      if (opened.before.size <= most) {
        bytes = Buffer.allocUnsafe(Number(opened.before.size))
        whole = await fill(opened.file, bytes, 0)
      }
    } finally {
      opened.after = await closeFile(opened)
    }
    if (!whole) return { before: look(opened.before), after: '', now: opened.now, large: bytes === undefined }
    bodies.set(body, bytes)
    return { before: look(opened.before), after: opened.after, now: opened.now, hash: hashOf(bytes) }
  },
  async open ({ file, path }) {
    const opened = await openFile(path)
    files.set(file, opened)
    return { before: look(opened.before), now: opened.now }
  },
  async read ({ file, body, start, length }) {
    const bytes = Buffer.allocUnsafe(length)
    if (!await fill(files.get(file).file, bytes, start)) return { short: true }
    bodies.set(body, bytes)
    return { hash: hashOf(bytes) }
  },
  async close ({ file }) {
    const opened = files.get(file)
    files.delete(file)
    return { after: await closeFile(opened) }
  },
  async put ({ body, url, headers }) {
    const response = await request(url, 'PUT', headers, bodies.get(body))
    if (response.statusCode >= 300) return await refusal(response)
    response.resume()
    bodies.delete(body)
    return { status: response.statusCode, etag: response.headers.etag }
  },
  async drop ({ body }) { bodies.delete(body) },
  async create ({ part, path }) { await local(() => parts.set(part, createPart(part, path))) },
  /** An object, or `size` bytes of it, into a file that was made for it. */
  async fetch ({ part, url, headers, start, size }) {
    const { file } = parts.get(part)
    const response = await request(url, 'GET', headers)
    if (response.statusCode >= 300) return await refusal(response)
    const hash = createHash('sha256')
    const put = size <= smallSize ? writeNow : writeBeside
    const writes = []
    let failure
    let length = 0
    await new Promise((resolve, reject) => {
      response.on('data', (chunk) => {
        hash.update(chunk)
        const at = start + length
        length += chunk.length
        if (length <= size) writes.push(local(() => put(file, chunk, at)).catch((error) => { failure = error }))
      }).on('error', reject).on('close', resolve)
    }).finally(() => Promise.all(writes))
    if (failure) throw failure
    if (length !== size || !response.complete) return { code: 'IncompleteBody' }
    return { status: response.statusCode, hash: hash.digest('hex'), metadata: metadataOf(response) }
  },
  /** All of a file is there; `check` has it read again in its place. */
  async finish ({ part, mode, mtime, check }) {
    const { file, temporary, place } = parts.get(part)
    return await local(() => {
      fs.fchmodSync(file, mode)
      fs.futimesSync(file, mtime, mtime)
      fs.renameSync(temporary, place)
      parts.delete(part)
      fs.closeSync(file)
      return check ? { found: hashOf(fs.readFileSync(place)) } : {}
    })
  },
  async discard ({ part }) {
    if (!parts.has(part)) return
    const { file, temporary } = parts.get(part)
    parts.delete(part)
    await local(() => {
      fs.closeSync(file)
      fs.unlinkSync(temporary)
    })
  },
  /** A whole small object, in one step; one that is not what was expected is not put in its place. */
  async place ({ part, path, expected, mode, mtime, ...object }) {
    await operations.create({ part, path })
    try {
      const answer = await operations.fetch({ ...object, part, start: 0 })
      if (answer.code !== undefined || (expected !== undefined && answer.hash !== expected)) return answer
      return { ...answer, ...await operations.finish({ part, mode, mtime, check: true }) }
    } finally {
      await operations.discard({ part })
    }
  }
}

let answers = []
function answer (message) {
  answers.push(JSON.stringify(message))
  if (answers.length > 1) return
  // Every write is a message on its way, which costs more than to wait for some company.
  setTimeout(() => {
    process.stdout.write(`${answers.join('\n')}\n`)
    answers = []
  }, gatherMs)
}

let abandoned = setTimeout(() => {})
let pending = 0
async function handle ({ id, task, ...details }) {
  clearTimeout(abandoned)
  pending++
  try {
    answer({ id, ...await operations[task](details) })
  } catch (error) {
    const code = error.code || 'Unknown'
    answer({ id, ...error instanceof Refused ? { refused: code } : { code } })
  }
  if (--pending === 0) abandoned = setTimeout(() => process.exit(1), abandonedMs)
}

let rest = ''
process.stdin.setEncoding('utf8').on('data', (text) => {
  const lines = (rest + text).split('\n')
  rest = lines.pop()
  for (const line of lines) handle(JSON.parse(line))
}).on('end', () => process.exit(0))
process.stdout.on('error', () => process.exit(1))
process.on('exit', () => {
  for (const { temporary } of parts.values()) fs.rmSync(temporary, { force: true })
})
