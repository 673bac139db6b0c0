'use strict'
// What uploads and downloads share.
const { createHash } = require('crypto')
const { join } = require('path')

const root = process.argv[1]

/** Bytes that wait to be sent or, in chunks, to be written; by number. */
const bodies = new Map()

const at = (path) => join(root, path)

function hashOf (...chunks) {
  const hash = createHash('sha256')
  for (const chunk of chunks) hash.update(chunk)
  return hash.digest('hex')
}

module.exports = { bodies, at, hashOf }
