'use strict'
// Objects on their way into the workspace: a file is in its place when all of it is there, and never before.
const fs = require('fs')
const { dirname, join } = require('path')
const { promisify } = require('util')
const { at, bodies, cipher, hashOf } = require('./files.cjs')
const requests = require('./http.cjs')

const writev = promisify(fs.writev)
const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = fs.constants
const smallSize = 65_536
const scratch = Buffer.allocUnsafeSlow(smallSize)

/** What files are called until all of them is there; nobody else calls anything so. */
let partPrefix
const namePartsAfter = (prefix) => { partPrefix = prefix }
/** Files that are fetched in parts, by number; and all that are not in their places yet. */
const parts = new Map()
const unfinished = new Set()
let count = 0

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
function createPart (path) {
  const place = at(path)
  const temporary = join(dirname(place), `${partPrefix}${Date.now()}-${++count}`)
  const create = () => ({ place, temporary, file: fs.openSync(temporary, O_WRONLY | O_CREAT | O_EXCL, 0o600) })
  let part
  try {
    part = create()
  } catch (error) {
    if (error.code !== 'ENOENT') throw error
    fs.mkdirSync(dirname(place), { recursive: true })
    part = create()
  }
  unfinished.add(part)
  return part
}

/** By another thread what is more than a little: that takes as long as everything else together. */
async function writeTo (file, chunks, start) {
  const size = chunks.reduce((sum, { length }) => sum + length, 0)
  // Node.js 16 refuses to write nothing.
  if (size === 0) return
  const written = size <= smallSize
    ? fs.writevSync(file, chunks, start)
    : (await writev(file, chunks, start)).bytesWritten
  if (written !== size) throw Object.assign(new Error(), { code: 'ENOSPC' })
}

function finish (part, mode, mtime) {
  fs.fchmodSync(part.file, mode)
  fs.futimesSync(part.file, mtime, mtime)
  fs.renameSync(part.temporary, part.place)
  unfinished.delete(part)
  fs.closeSync(part.file)
}

function discard (part) {
  if (!unfinished.delete(part)) return
  fs.closeSync(part.file)
  fs.unlinkSync(part.temporary)
}

/** @returns whether what is read in its place is what was written (3.5). */
async function putInPlace (path, chunks, mode, mtime) {
  const part = createPart(path)
  try {
    await writeTo(part.file, chunks, 0)
    finish(part, mode, mtime)
  } finally {
    discard(part)
  }
  return isThere(part.place, chunks)
}

function isThere (place, chunks) {
  const file = fs.openSync(place, O_RDONLY | O_NOFOLLOW)
  try {
    for (const chunk of chunks) {
      for (let start = 0; start < chunk.length;) {
        const length = fs.readSync(file, scratch, 0, Math.min(scratch.length, chunk.length - start))
        if (length === 0 || scratch.compare(chunk, start, start + length, 0, length) !== 0) return false
        start += length
      }
    }
    return fs.readSync(file, scratch) === 0
  } finally {
    fs.closeSync(file)
  }
}

const operations = {
  /** A whole small object, in one step; one that is not what was expected is not put in its place. */
  async place ({ path, expected, mode, mtime, ...object }) {
    const { chunks, ...answer } = await requests.get(object)
    if (chunks === undefined) return answer
    const hash = hashOf(...chunks)
    if (expected !== undefined && hash !== expected) return { ...answer, hash }
    return { ...answer, hash, proved: await local(() => putInPlace(path, chunks, mode, mtime)) }
  },
  /** The same in two steps, for one that says itself how it has to be. */
  async get ({ body, ...object }) {
    const { chunks, ...answer } = await requests.get(object)
    if (chunks === undefined) return answer
    bodies.set(body, chunks)
    return { ...answer, hash: hashOf(...chunks) }
  },
  async settle ({ body, path, mode, mtime }) {
    const chunks = bodies.get(body)
    bodies.delete(body)
    return { proved: await local(() => putInPlace(path, chunks, mode, mtime)) }
  },
  /** Many small ones, as `[path, start, size, mode, mtime, hash]`, out of one; tells which of them are not there. */
  async unpack ({ files, ...object }) {
    const { chunks, ...answer } = await requests.get(object)
    if (chunks === undefined) return answer
    const pack = Buffer.concat(chunks)
    const failed = []
    for (const [index, [path, start, size, mode, mtime, hash]] of files.entries()) {
      const bytes = cipher(pack.subarray(start, start + size), hash)
      const isDone = hashOf(bytes) === hash && await putInPlace(path, [bytes], mode, mtime).catch(() => false)
      if (!isDone) failed.push(index)
    }
    return { ...answer, failed }
  },
  async create ({ part, path }) { await local(() => parts.set(part, createPart(path))) },
  /** A piece of an object into a file that was made for it. */
  async fetch ({ part, start, ...object }) {
    const { chunks, ...answer } = await requests.get(object)
    if (chunks === undefined) return answer
    await local(() => writeTo(parts.get(part).file, chunks, start))
    return { ...answer, hash: hashOf(...chunks) }
  },
  /** All of a file is there. */
  async finish ({ part, mode, mtime }) {
    await local(() => finish(parts.get(part), mode, mtime))
    parts.delete(part)
  },
  async discard ({ part }) {
    if (parts.has(part)) await local(() => discard(parts.get(part)))
    parts.delete(part)
  }
}

function discardAll () {
  for (const { temporary } of unfinished) fs.rmSync(temporary, { force: true })
}

module.exports = { operations, Refused, namePartsAfter, discardAll }
