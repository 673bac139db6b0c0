'use strict'
// Objects on their way into the workspace: a file gets its name when all of it is there, and not before.
const { createHash } = require('crypto')
const fs = require('fs')
const { dirname, join } = require('path')
const { promisify } = require('util')
const { at, bodies, hashOf, md5Of } = require('./files.cjs')
const requests = require('./http.cjs')

const writev = promisify(fs.writev)
const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = fs.constants
const smallSize = 65_536
const scratch = Buffer.allocUnsafeSlow(smallSize)

/** How the names of files begin until all of them is there; no other file has such a name. */
let partialPrefix
const namePartialsAfter = (prefix) => { partialPrefix = prefix }
/** Files that are fetched in parts, by number; and all that do not have their names yet. */
const partials = new Map()
const uncommitted = new Set()
let count = 0

/** The file system is the reason, not S3: it would be no better if the service fetched the bytes. */
class LocalFileError extends Error {}

async function local (work) {
  try {
    return await work()
  } catch ({ code }) {
    throw Object.assign(new LocalFileError(), { code })
  }
}

/** Creates a file with another name in the same directory: what was there stays until all of the new one is there. */
function createPartial (path) {
  const target = at(path)
  const temporary = join(dirname(target), `${partialPrefix}${Date.now()}-${++count}`)
  const create = () => ({ target, temporary, file: fs.openSync(temporary, O_WRONLY | O_CREAT | O_EXCL, 0o600) })
  let partial
  try {
    partial = create()
  } catch (error) {
    if (error.code !== 'ENOENT') throw error
    fs.mkdirSync(dirname(target), { recursive: true })
    partial = create()
  }
  uncommitted.add(partial)
  return partial
}

/** Writes large bodies in another thread: that takes as long as everything else the agent does. */
async function writeTo (file, chunks, start) {
  const size = chunks.reduce((sum, { length }) => sum + length, 0)
  // Node.js 16 refuses to write nothing.
  if (size === 0) return
  const written = size <= smallSize
    ? fs.writevSync(file, chunks, start)
    : (await writev(file, chunks, start)).bytesWritten
  if (written !== size) throw Object.assign(new Error(), { code: 'ENOSPC' })
}

function commit (partial, mode, mtime) {
  fs.fchmodSync(partial.file, mode)
  fs.futimesSync(partial.file, mtime, mtime)
  fs.renameSync(partial.temporary, partial.target)
  uncommitted.delete(partial)
  fs.closeSync(partial.file)
}

function discard (partial) {
  if (!uncommitted.delete(partial)) return
  fs.closeSync(partial.file)
  fs.unlinkSync(partial.temporary)
}

async function md5OfFile ({ temporary }) {
  const hash = createHash('md5')
  for await (const chunk of fs.createReadStream(temporary)) hash.update(chunk)
  return hash.digest('hex')
}

/** @returns whether the file has, when it is read again, the bytes that were written (3.5). */
async function writeFile (path, chunks, mode, mtime) {
  const partial = createPartial(path)
  try {
    await writeTo(partial.file, chunks, 0)
    commit(partial, mode, mtime)
  } finally {
    discard(partial)
  }
  return hasBytes(partial.target, chunks)
}

function hasBytes (path, chunks) {
  const file = fs.openSync(path, O_RDONLY | O_NOFOLLOW)
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

const tasks = {
  /** Restores a small object in one step; one without the expected hash is not written. */
  async fetchAndCommit ({ path, expected, mode, mtime, ...object }) {
    const { chunks, ...response } = await requests.get(object)
    if (chunks === undefined) return response
    const hash = hashOf(...chunks)
    if (hash !== expected) return { ...response, hash, md5: md5Of(...chunks) }
    return { ...response, hash, verified: await local(() => writeFile(path, chunks, mode, mtime)) }
  },
  /** The first of two steps, for an object whose metadata say how the file has to be. */
  async fetch ({ body, ...object }) {
    const { chunks, ...response } = await requests.get(object)
    if (chunks === undefined) return response
    bodies.set(body, chunks)
    return { ...response, hash: hashOf(...chunks), md5: md5Of(...chunks) }
  },
  async commit ({ body, path, mode, mtime }) {
    const chunks = bodies.get(body)
    bodies.delete(body)
    return { verified: await local(() => writeFile(path, chunks, mode, mtime)) }
  },
  /** Restores files, `[path, start, size, mode, mtime, hash]` each, from a pack. @returns those that failed. */
  async unpack ({ files, ...object }) {
    const { chunks, ...response } = await requests.get(object)
    if (chunks === undefined) return response
    const pack = Buffer.concat(chunks)
    const failed = []
    for (const [index, [path, start, size, mode, mtime, hash]] of files.entries()) {
      const bytes = pack.subarray(start, start + size)
      const isDone = hashOf(bytes) === hash && await writeFile(path, [bytes], mode, mtime).catch(() => false)
      if (!isDone) failed.push(index)
    }
    return { ...response, failed }
  },
  async createPartial ({ partial, path }) { await local(() => partials.set(partial, createPartial(path))) },
  async fetchPart ({ partial, start, ...object }) {
    const { chunks, ...response } = await requests.get(object)
    if (chunks === undefined) return response
    await local(() => writeTo(partials.get(partial).file, chunks, start))
    return { ...response, hash: hashOf(...chunks) }
  },
  /** All parts are there. */
  async commitPartial ({ partial, mode, mtime, md5 }) {
    if (md5 !== undefined && await local(() => md5OfFile(partials.get(partial))) !== md5) return { damaged: true }
    await local(() => commit(partials.get(partial), mode, mtime))
    partials.delete(partial)
  },
  async discardPartial ({ partial }) {
    if (partials.has(partial)) await local(() => discard(partials.get(partial)))
    partials.delete(partial)
  }
}

function discardAll () {
  for (const { temporary } of uncommitted) fs.rmSync(temporary, { force: true })
}

module.exports = { tasks, LocalFileError, namePartialsAfter, discardAll }
