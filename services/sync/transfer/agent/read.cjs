'use strict'
// Files of the workspace on their way to S3.
const fs = require('fs')
const { promisify } = require('util')
const { at, bodies, hashOf } = require('./files.cjs')
const requests = require('./http.cjs')

const [openAsync, readAsync, lstatAsync] = [fs.open, fs.read, fs.lstat].map((call) => promisify(call))
const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants

/** A process may not have many files open. */
const filesAtOnce = 64

/** Files that are read in parts, by number. */
const files = new Map()

const statRecord = ({ mode, size, mtimeNs, ctimeNs, uid, gid }) => [mode, size, mtimeNs, ctimeNs, uid, gid].join(' ')

const openAt = (path) => openAsync(at(path), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)

async function open (path) {
  const file = await openAt(path)
  const before = fs.fstatSync(file, { bigint: true })
  if (before.isFile()) return { file, path, before, now: Date.now() }
  fs.closeSync(file)
  throw Object.assign(new Error(), { code: 'ENOENT' })
}

/** @returns what `stat` says now; empty when the name does not stand for the file any more that was opened. */
async function close ({ file, path, before }) {
  fs.closeSync(file)
  const after = await lstatAsync(at(path), { bigint: true }).catch(() => undefined)
  return after && after.ino === before.ino && after.dev === before.dev ? statRecord(after) : ''
}

/** Fills `body` with the bytes from `start`. @returns false when there are not so many. */
async function fill (file, body, start) {
  for (let filled = 0; filled < body.length;) {
    const { bytesRead } = await readAsync(file, body, filled, body.length - filled, start + filled)
    if (bytesRead === 0) return false
    filled += bytesRead
  }
  return true
}

/** @returns undefined when there is no such file, or it is shorter. */
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

const tasks = {
  /** Reads a whole file of at most `maxSize` bytes. */
  async bufferFile ({ body, path, maxSize }) {
    const opened = await open(path)
    let bytes
    let whole = false
    try {
      if (opened.before.size <= maxSize) {
        bytes = Buffer.allocUnsafe(Number(opened.before.size))
        whole = await fill(opened.file, bytes, 0)
      }
    } finally {
      opened.after = await close(opened)
    }
    if (!whole) return { before: statRecord(opened.before), after: '', now: opened.now, large: bytes === undefined }
    bodies.set(body, bytes)
    return { before: statRecord(opened.before), after: opened.after, now: opened.now, hash: hashOf(bytes) }
  },
  /** Reads small files, `[path, size]` each, into one body. What it holds is checked when it is unpacked. */
  async bufferPack ({ body, files }) {
    const contents = []
    for (let next = 0; next < files.length; next += filesAtOnce) {
      contents.push(...await Promise.all(files.slice(next, next + filesAtOnce).map(readWhole)))
    }
    const failed = [...files.keys()].filter((index) => contents[index] === undefined)
    const bytes = Buffer.concat(files.map(([, size], index) => contents[index] || Buffer.alloc(size)))
    bodies.set(body, bytes)
    return { hash: hashOf(bytes), failed }
  },
  async openFile ({ file, path }) {
    const opened = await open(path)
    files.set(file, opened)
    return { before: statRecord(opened.before), now: opened.now }
  },
  async readPart ({ file, body, start, size }) {
    const bytes = Buffer.allocUnsafe(size)
    if (!await fill(files.get(file).file, bytes, start)) return { short: true }
    bodies.set(body, bytes)
    return { hash: hashOf(bytes) }
  },
  async closeFile ({ file }) {
    const opened = files.get(file)
    files.delete(file)
    return { after: await close(opened) }
  },
  /** Sends bytes; a failed request may come again, so they are kept until S3 has them. */
  async put ({ body, ...request }) {
    const response = await requests.put(request, bodies.get(body))
    if (response.code === undefined) bodies.delete(body)
    return response
  },
  /** Forgets bytes that were read or fetched. */
  async discard ({ body }) { bodies.delete(body) }
}

module.exports = { tasks }
