'use strict'
// Presigned requests to S3.
const http = require('http')
const https = require('https')
const net = require('net')

const idleMs = 30_000
const connectMs = 3000
let server

/** Remembers where S3 is. @throws when it cannot be reached from here. */
async function connect (origin) {
  const { hostname, port, protocol } = new URL(origin)
  const scheme = protocol === 'https:' ? https : http
  const address = { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) || (protocol === 'https:' ? 443 : 80) }
  server = { origin, scheme, address, agent: new scheme.Agent({ keepAlive: true, maxSockets: 64 }) }
  const socket = net.connect(address)
  await new Promise((resolve, reject) => {
    socket.setTimeout(connectMs, () => reject(Object.assign(new Error(), { code: 'Timeout' })))
    socket.once('connect', resolve).once('error', reject)
  }).finally(() => socket.destroy())
}

/** All URLs have the same origin, so they need not be parsed. */
function request (url, method, headers, body) {
  return new Promise((resolve, reject) => {
    const path = url.slice(server.origin.length)
    const outgoing = server.scheme.request({ ...server.address, agent: server.agent, path, method, headers }, resolve)
    outgoing.setTimeout(idleMs, () => outgoing.destroy(Object.assign(new Error(), { code: 'Timeout' })))
    outgoing.on('error', reject)
    outgoing.end(body)
  })
}

function errorOf (response, text) {
  const [, code] = /<Code>([A-Za-z0-9.]{1,100})<\/Code>/.exec(text) || []
  return { status: response.statusCode, date: response.headers.date, code: code || `Http${response.statusCode}` }
}

async function textOf (response) {
  let text = ''
  for await (const chunk of response) if (text.length < 65_536) text += chunk
  return text
}

async function put ({ url, headers }, body) {
  const response = await request(url, 'PUT', headers, body)
  const text = response.headers['content-length'] === '0' ? response.resume() && '' : await textOf(response)
  // What S3 finds out late it says in the body of a success.
  if (response.statusCode >= 300 || /<Error[\s>]/.test(text)) return errorOf(response, text)
  return { status: response.statusCode, etag: response.headers.etag }
}

/**
 * Fetches an object or a part of one, of `size` bytes. The bytes stay in chunks: to join them would copy them all once
 * more. There are no chunks when S3 refuses the request or the body is incomplete.
 */
async function get ({ url, headers, size }) {
  const response = await request(url, 'GET', headers)
  if (response.statusCode >= 300) return errorOf(response, await textOf(response))
  const chunks = []
  let length = 0
  await new Promise((resolve, reject) => {
    response.on('data', (chunk) => {
      chunks.push(chunk)
      length += chunk.length
      if (length > size) response.destroy()
    }).on('error', reject).on('close', resolve)
  })
  if (length !== size || !response.complete) return { code: 'IncompleteBody' }
  return { status: response.statusCode, chunks, headers: describing(response) }
}

/** The headers that describe an object. */
function describing ({ headers }) {
  const names = Object.keys(headers).filter((name) => name === 'etag' || /^x-amz-(meta|server-side-encryption)/.test(name))
  return Object.fromEntries(names.map((name) => [name, headers[name]]))
}

module.exports = { connect, put, get }
