'use strict'
// What is known of files by both directions.
const { createHash } = require('crypto')
const { join } = require('path')

const root = process.argv[1]

/** Whole contents that wait to be sent or written, by number. */
const bodies = new Map()

const at = (path) => join(root, path)
const hashOf = (body) => createHash('sha256').update(body).digest('hex')

module.exports = { bodies, at, hashOf }
