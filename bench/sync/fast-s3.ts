import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Server } from './peers.js'

interface FastS3 extends Server { createBucket: (name: string) => Promise<void>, close: () => Promise<void> }

/**
 * An S3 server that does next to nothing, in a process of its own: it believes every signature, keeps bytes in memory
 * and hashes none. Measures what a client costs when no server holds it up. Good for rclone, aws-cli and us, no more.
 */
export async function startFastS3 (): Promise<FastS3> {
  const child = fork(fileURLToPath(import.meta.url), ['serve'], { execArgv: process.execArgv })
  const [port] = await once(child, 'message') as [number]
  return {
    endpoint: `http://127.0.0.1:${port}`,
    region: 'us-east-1',
    accessKeyId: 'bench',
    secretAccessKey: 'bench',
    async createBucket () {},
    async close () {
      child.kill()
      await once(child, 'exit')
    }
  }
}

interface Stored { chunks: Buffer[], size: number, etag: string, metadata: [string, string][], time: Date }

const objects = new Map<string, Stored>()
const uploads = new Map<string, { parts: Map<number, Stored>, metadata: [string, string][] }>()
let count = 0

async function serve (request: IncomingMessage, response: ServerResponse) {
  const url = new URL(request.url!, 'http://localhost')
  const key = decodeURIComponent(url.pathname).split('/').slice(2).join('/')
  const query = url.searchParams
  const xml = (body: string) => response.writeHead(200, { 'content-type': 'application/xml' }).end(`<?xml version="1.0"?>${body}`)
  if (request.method === 'PUT') {
    const stored = await receive(request)
    const upload = uploads.get(query.get('uploadId') ?? '')
    if (upload !== undefined) upload.parts.set(Number(query.get('partNumber')), stored)
    else if (key !== '') objects.set(key, stored)
    response.writeHead(200, { etag: stored.etag }).end()
  } else if (request.method === 'POST' && query.has('uploads')) {
    uploads.set(String(++count), { parts: new Map(), metadata: metadataOf(request) })
    xml(`<InitiateMultipartUploadResult><UploadId>${count}</UploadId></InitiateMultipartUploadResult>`)
  } else if (request.method === 'POST' && query.has('uploadId')) {
    await receive(request)
    const { parts, metadata } = uploads.get(query.get('uploadId')!)!
    uploads.delete(query.get('uploadId')!)
    const chunks = [...parts].toSorted(([one], [other]) => one - other).flatMap(([, part]) => part.chunks)
    const whole = { ...newObject(chunks), metadata }
    objects.set(key, whole)
    xml(`<CompleteMultipartUploadResult><ETag>${whole.etag}</ETag></CompleteMultipartUploadResult>`)
  } else if (request.method === 'POST') {
    const { chunks } = await receive(request)
    const keys = Buffer.concat(chunks).toString().matchAll(/<Key>([^<]*)<\/Key>/g)
    for (const [, name] of keys) objects.delete(name!.replaceAll('&amp;', '&'))
    xml('<DeleteResult/>')
  } else if (query.has('uploads')) xml('<ListMultipartUploadsResult/>')
  else if (key === '') xml(list(query))
  else send(request, response, objects.get(key))
}

function send (request: IncomingMessage, response: ServerResponse, object: Stored | undefined) {
  if (object === undefined) {
    response.writeHead(404, { 'content-type': 'application/xml' }).end('<Error><Code>NoSuchKey</Code></Error>')
    return
  }
  const [, from, to] = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '') ?? []
  const [start, end] = [Number(from ?? 0), to ? Math.min(Number(to) + 1, object.size) : object.size]
  response.writeHead(from === undefined ? 200 : 206, [
    ...object.metadata.flat(), 'etag', object.etag, 'content-length', String(end - start), 'last-modified',
    object.time.toUTCString(), ...from === undefined ? [] : ['content-range', `bytes ${start}-${end - 1}/${object.size}`]
  ])
  let at = 0
  for (const chunk of request.method === 'HEAD' ? [] : object.chunks) {
    const piece = chunk.subarray(Math.max(0, start - at), Math.max(0, end - at))
    if (piece.length > 0) response.write(piece)
    at += chunk.length
  }
  response.end()
}

function list (query: URLSearchParams): string {
  const [prefix, delimiter] = [query.get('prefix') ?? '', query.get('delimiter') ?? '']
  const after = query.get('continuation-token') ?? query.get('start-after') ?? query.get('marker') ?? ''
  const encode = query.get('encoding-type') === 'url' ? encodeURIComponent : (key: string) => key
  const folderEnd = (key: string) => delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length)
  const nameOf = (key: string) => key.slice(0, folderEnd(key) + 1) || key
  const below = [...objects.keys()].filter((key) => key.startsWith(prefix))
  const names = [...new Set(below.map(nameOf))].filter((name) => name > after).toSorted()
  const page = names.slice(0, 1000)
  const more = names.length > page.length
  const contents = page.map((key) => {
    if (folderEnd(key) !== -1) return `<CommonPrefixes><Prefix>${encode(key)}</Prefix></CommonPrefixes>`
    const { size, etag, time } = objects.get(key)!
    return `<Contents><Key>${encode(key)}</Key><Size>${size}</Size><ETag>${etag}</ETag>` +
      `<LastModified>${time.toISOString()}</LastModified></Contents>`
  })
  const next = more ? `<NextContinuationToken>${page.at(-1)}</NextContinuationToken><NextMarker>${page.at(-1)}</NextMarker>` : ''
  return '<ListBucketResult><EncodingType>url</EncodingType>' +
    `<IsTruncated>${more}</IsTruncated>${next}${contents.join('')}</ListBucketResult>`
}

async function receive (request: IncomingMessage): Promise<Stored> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return { ...newObject(chunks), metadata: metadataOf(request) }
}

/** The tag says that it is of parts: so no client takes it for an MD5. */
function newObject (chunks: Buffer[]) {
  const size = chunks.reduce((sum, { length }) => sum + length, 0)
  return { chunks, size, etag: `"${(++count).toString(16).padStart(32, '0')}-1"`, time: new Date() }
}

function metadataOf ({ headers }: IncomingMessage): [string, string][] {
  return Object.entries(headers).filter(([name]) => name.startsWith('x-amz-meta-')).map(([name, value]) => [name, String(value)])
}

if (process.argv[2] === 'serve') {
  const server = createServer((request, response) => { serve(request, response).catch(() => response.destroy()) }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  process.send!((server.address() as AddressInfo).port)
}
