'use strict'
// Files of the workspace on their way to S3.
const fs = require('fs')
const { promisify } = require('util')
const { at, bodies, cipher, hashOf } = require('./files.cjs')
const requests = require('./http.cjs')

const [open, read, lstat] = [fs.open, fs.read, fs.lstat].map((call) => promisify(call))
const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants

/** Each is open for a while, and a process may not have many. */
const filesAtOnce = 64

/** Files that are read in parts. */
const files = new Map()

const look = ({ mode, size, mtimeNs, ctimeNs, uid, gid }) => [mode, size, mtimeNs, ctimeNs, uid, gid].join(' ')

const openAt = (path) => open(at(path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)

async function openFile (path) {
  const file = await openAt(path)
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

/** @returns whether there are so many bytes. */
async function fill (file, body, start) {
  for (let filled = 0; filled < body.length;) {
    const { bytesRead } = await read(file, body, filled, body.length - filled, start + filled)
    if (bytesRead === 0) return false
    filled += bytesRead
  }
  return true
}

/** @returns undefined when there is no such file, or not so much in it. */
async function readWhole ([path, size]) {
  try {
    const body = Buffer.allocUnsafe(size)
    const file = await openAt(path)
    const isWhole = await fill(file, body, 0).finally(() => fs.closeSync(file))
    return isWhole ? body : undefined
  } catch {
    return undefined
  }
}

const operations = {
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
  /** Puts small files, as `[path, size, hash]`, into one body. What they hold now is for who unpacks them to check. */
  async pack ({ body, files }) {
    const contents = []
    for (let next = 0; next < files.length; next += filesAtOnce) {
      contents.push(...await Promise.all(files.slice(next, next + filesAtOnce).map(readWhole)))
    }
    const failed = [...files.keys()].filter((index) => contents[index] === undefined)
    const sealed = files.map(([, size, hash], index) => cipher(contents[index] || Buffer.alloc(size), hash))
    const bytes = Buffer.concat(sealed)
    bodies.set(body, bytes)
    return { hash: hashOf(bytes), failed }
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
  async put ({ body, ...permit }) {
    const answer = await requests.put(permit, bodies.get(body))
    if (answer.code === undefined) bodies.delete(body)
    return answer
  },
  async drop ({ body }) { bodies.delete(body) }
}

module.exports = { operations }
