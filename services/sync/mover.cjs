// Run in a sandbox by `node -e`: moves bytes between its files and S3, as one JSON message a line on standard input
// asks for. What lets it do so arrives there and is kept nowhere. Node 16 and later.
'use strict'
const { spawn } = require('child_process')
const { createHash } = require('crypto')
const fs = require('fs')
const http = require('http')
const https = require('https')
const net = require('net')
const { join } = require('path')
const { promisify } = require('util')

const root = process.argv[1]
const [open, read, lstat] = [fs.open, fs.read, fs.lstat].map((call) => promisify(call))
const at = (path) => Buffer.from(join(root, path))
let server
const idleMs = 30_000
const gatherMs = 4
/** Nobody asks for anything any more: whoever did is gone, and this must not keep the sandbox awake. */
const abandonedMs = 180_000

/** What waits to be sent or written, by number. */
const bodies = new Map()
const files = new Map()
const scratch = Buffer.allocUnsafe(1024 * 1024)
const tars = new Map()

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

function startTar () {
  fs.mkdirSync(root, { recursive: true })
  const env = { ...process.env, LC_ALL: 'C' }
  const tar = spawn('tar', ['-xpof', '-'], { cwd: root, stdio: ['pipe', 'ignore', 'pipe'], env })
  tar.complaints = ''
  tar.stderr.on('data', (text) => { if (tar.complaints.length < 32_768) tar.complaints += text })
  tar.ended = new Promise((resolve) => tar.on('close', resolve).on('error', () => resolve(127)))
  tar.stdin.on('error', () => {})
  return tar
}

const operations = {
  /** Whether S3 can be reached from here at all. */
  async hello ({ origin }) {
    const { hostname, port, protocol } = new URL(origin)
    const scheme = protocol === 'https:' ? https : http
    const address = { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) || (protocol === 'https:' ? 443 : 80) }
    server = { origin, scheme, address, agent: new scheme.Agent({ keepAlive: true, maxSockets: 32 }) }
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
  async get ({ body, url, headers, size }) {
    const response = await request(url, 'GET', headers)
    if (response.statusCode >= 300) return await refusal(response)
    const bytes = Buffer.allocUnsafe(size)
    const hash = createHash('sha256')
    let length = 0
    await new Promise((resolve, reject) => {
      response.on('data', (chunk) => {
        hash.update(chunk)
        chunk.copy(bytes, length)
        length += chunk.length
      }).on('error', reject).on('end', resolve).on('close', resolve)
    })
    if (length !== size || !response.complete) return { code: 'IncompleteBody' }
    bodies.set(body, bytes)
    return { status: response.statusCode, hash: hash.digest('hex') }
  },
  async drop ({ body }) { bodies.delete(body) },
  /** More of an archive: bytes of its own and bodies that were fetched. */
  async write ({ lane, pieces }) {
    if (!tars.has(lane)) tars.set(lane, startTar())
    const tar = tars.get(lane)
    let flows = true
    tar.stdin.cork()
    for (const piece of pieces) {
      const bytes = typeof piece === 'string' ? Buffer.from(piece, 'base64') : bodies.get(piece)
      bodies.delete(piece)
      flows = tar.stdin.write(bytes)
    }
    tar.stdin.uncork()
    if (!flows) await Promise.race([new Promise((resolve) => tar.stdin.once('drain', resolve)), tar.ended])
  },
  async end ({ lane }) {
    const tar = tars.get(lane)
    tars.delete(lane)
    tar.stdin.end()
    return { exitCode: await tar.ended, complaints: tar.complaints }
  },
  async stop () {
    for (const tar of tars.values()) tar.kill()
    tars.clear()
  },
  /** Of a file that was written just now: it is in memory, and waiting for it takes longer than reading it. */
  async hash ({ path }) {
    const hash = createHash('sha256')
    const file = fs.openSync(at(path), fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK)
    try {
      for (let count; (count = fs.readSync(file, scratch)) > 0;) hash.update(scratch.subarray(0, count))
    } finally {
      fs.closeSync(file)
    }
    return { hash: hash.digest('hex') }
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
  } catch ({ code }) {
    answer({ id, code: code || 'Unknown' })
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
