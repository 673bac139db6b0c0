'use strict'
// What uploads and downloads share.
const { createHash } = require('crypto')
const { join } = require('path')

const root = process.argv[1]

/** Bytes that wait to be sent or, in chunks, to be written; by number. */
const bodies = new Map()

const at = (path) => join(root, path)

const hashOf = (...chunks) => hashBy('sha256', chunks)
const md5Of = (...chunks) => hashBy('md5', chunks)

function hashBy (algorithm, chunks) {
  const hash = createHash(algorithm)
  for (const chunk of chunks) hash.update(chunk)
  return hash.digest('hex')
}

module.exports = { bodies, at, hashOf, md5Of }
