'use strict'
// What is known of files by both directions.
const { createCipheriv, createHash } = require('crypto')
const { join } = require('path')

const root = process.argv[1]

/** Contents that wait to be sent or, in chunks, to be written; by number. */
const bodies = new Map()

const at = (path) => join(root, path)

function hashOf (...chunks) {
  const hash = createHash('sha256')
  for (const chunk of chunks) hash.update(chunk)
  return hash.digest('hex')
}

/** @see packs.ts */
function cipher (content, hash) {
  return createCipheriv('aes-256-ctr', Buffer.from(hash, 'hex'), Buffer.alloc(16)).update(content)
}

module.exports = { bodies, at, cipher, hashOf }
