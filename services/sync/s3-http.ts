import { createHash, createHmac, type Hash as NodeHash } from 'node:crypto'
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { SignatureV4 } from '@smithy/signature-v4'
import type { Permit } from './courier.js'
import { S3Fault } from './faults.js'

export interface S3Credentials { accessKeyId: string, secretAccessKey: string, sessionToken?: string }

export interface S3Target {
  bucket: string
  region: string
  /** Without one: Amazon's own. */
  endpoint?: string | undefined
  forcePathStyle: boolean
  /** Silence of a connection that counts as a fault. */
  idleMs?: number | undefined
}

export interface S3Request {
  method: 'GET' | 'PUT'
  /** The whole key, as it is. */
  key: string
  query?: Record<string, string>
  headers?: Record<string, string>
  body?: Buffer
  /** SHA-256 of the body in hex; it is signed, so S3 refuses a body that was changed on the way. */
  bodyHash?: string
  /** Of a body that somebody else sends. */
  bodySize?: number
  signal?: AbortSignal | undefined
}

interface Signed { method: string, path: string, query: Record<string, string>, headers: Record<string, string> }

const emptyHash = createHash('sha256').digest('hex')
const errorTextLimit = 64 * 1024

/**
 * PUT and GET of objects, signed with the SDK's own signer and sent over kept connections: a command of the SDK costs
 * about 1 ms of CPU, this a quarter of it. Everything else goes through the SDK.
 */
export class S3Http {
  /** Parts of the URL, which are worked out at every look at them. */
  readonly #address: { protocol: string, hostname: string, port?: number }
  readonly #host: string
  /** Where it sends its requests: scheme, host and port. */
  readonly origin: string
  readonly #bucketPath: string
  readonly #agent: HttpAgent
  readonly #signer: SignatureV4
  readonly #idleMs: number
  /** What the server's clock is ahead of ours. */
  skewMs = 0

  constructor (target: S3Target, credentials: () => Promise<S3Credentials>, concurrency: number) {
    const { url, inPath } = address(target)
    const { protocol, hostname, port, host, origin } = url
    this.#address = { protocol, hostname, ...(port !== '' && { port: Number(port) }) }
    this.#host = host
    this.origin = origin
    this.#bucketPath = url.pathname.replace(/\/$/, '') + (inPath ? `/${escapeKey(target.bucket)}` : '')
    const options = { keepAlive: true, maxSockets: concurrency, maxFreeSockets: concurrency, timeout: 60_000 }
    this.#agent = protocol === 'https:' ? new HttpsAgent(options) : new HttpAgent(options)
    this.#idleMs = target.idleMs ?? 30_000
    this.#signer = new SignatureV4({
      service: 's3', region: target.region, credentials, sha256: Sha256, uriEscapePath: false, applyChecksum: false
    })
  }

  /** The answer of a success, its body unread. @throws {S3Fault} */
  async send (request: S3Request): Promise<IncomingMessage> {
    const signed = await this.#signer.sign(this.#unsigned(request), { signingDate: this.#now() })
    const { method, query = {}, body, signal } = request
    const response = await this.#exchange({ ...signed, method, query }, body, signal)
    if (response.statusCode! < 300) return response
    throw await faultOf(response)
  }

  /** The same request for somebody else to send: nothing of it can be changed, its body neither. */
  async presign (request: S3Request, expiresIn: number): Promise<Permit> {
    const unsigned = this.#unsigned(request)
    const { host, ...headers } = unsigned.headers
    const unhoistableHeaders = new Set(Object.keys(headers))
    const options = { expiresIn, unhoistableHeaders, signingDate: this.#now() }
    const { path, query } = await this.#signer.presign(unsigned, options)
    return { url: `${this.origin}${path}?${searchOf(query as Record<string, string>)}`, headers }
  }

  #now (): Date {
    return new Date(Date.now() + this.skewMs)
  }

  #unsigned ({ method, key, query = {}, headers = {}, body, bodyHash, bodySize }: S3Request) {
    return {
      method,
      ...this.#address,
      path: `${this.#bucketPath}/${escapeKey(key)}`,
      query,
      headers: {
        ...headers,
        host: this.#host,
        'x-amz-content-sha256': bodyHash ?? emptyHash,
        ...(method === 'PUT' && { 'content-length': String(bodySize ?? body?.length ?? 0) })
      }
    }
  }

  close (): void {
    this.#agent.destroy()
  }

  #exchange (
    { method, path, query, headers }: Signed, body: Buffer | undefined, signal: AbortSignal | undefined
  ): Promise<IncomingMessage> {
    const search = searchOf(query)
    const request = this.#address.protocol === 'https:' ? httpsRequest : httpRequest
    return new Promise((resolve, reject) => {
      const outgoing = request({
        agent: this.#agent,
        host: this.#address.hostname.replace(/^\[|\]$/g, ''),
        port: this.#address.port,
        method,
        path: search === '' ? path : `${path}?${search}`,
        headers,
        ...(signal !== undefined && { signal })
      }, resolve)
      outgoing.setTimeout(this.#idleMs, () => outgoing.destroy(new S3Fault('Timeout')))
      outgoing.on('error', (cause) => reject(cause instanceof S3Fault ? cause : new S3Fault(codeOf(cause), { cause })))
      outgoing.end(body)
    })
  }
}

/**
 * Reads a body of known length into `into`. A connection that ends early is a fault, never a short file.
 * @throws {S3Fault}
 */
export async function readBody (response: IncomingMessage, into: Buffer): Promise<void> {
  let length = 0
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      if (length + chunk.length > into.length) break
      length += chunk.copy(into, length)
    }
  } catch (cause) {
    throw cause instanceof S3Fault ? cause : new S3Fault(codeOf(cause), { cause })
  }
  if (length !== into.length || !response.complete) {
    response.destroy()
    throw new S3Fault('IncompleteBody')
  }
}

/** A body of unknown length, as text. @throws {S3Fault} */
export async function readText (response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk)
  } catch (cause) {
    throw cause instanceof S3Fault ? cause : new S3Fault(codeOf(cause), { cause })
  }
  if (!response.complete) throw new S3Fault('IncompleteBody')
  return Buffer.concat(chunks).toString()
}

/** Every byte that is not plain is escaped, the way the signature wants it; the slashes of a key stay. */
export function escapeKey (key: string): string {
  return escapeText(key).replaceAll('%2F', '/')
}

function escapeText (text: string): string {
  return encodeURIComponent(text)
    .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
}

function searchOf (query: Record<string, string>): string {
  return Object.entries(query).map(([name, value]) => `${name}=${escapeText(value)}`).join('&')
}

function address ({ bucket, region, endpoint, forcePathStyle }: S3Target): { url: URL, inPath: boolean } {
  // A bucket name with a dot does not fit the certificate of a virtual host.
  const inPath = forcePathStyle || bucket.includes('.')
  const domain = region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com'
  const url = new URL(endpoint ?? `https://s3.${region}.${domain}`)
  if (!inPath) url.hostname = `${bucket}.${url.hostname}`
  return { url, inPath }
}

async function faultOf (response: IncomingMessage): Promise<S3Fault> {
  let text = ''
  try {
    for await (const chunk of response) {
      text += chunk
      if (text.length > errorTextLimit) break
    }
  } catch {
    // The status says enough.
  }
  const code = /<Code>([A-Za-z0-9.]{1,100})<\/Code>/.exec(text)?.[1] ?? `Http${response.statusCode}`
  return new S3Fault(code, { status: response.statusCode, date: response.headers.date })
}

function codeOf (cause: unknown): string {
  const { code, name } = cause as NodeJS.ErrnoException
  return code ?? name ?? 'NetworkError'
}

/** What the signer wants of a hash. */
class Sha256 {
  readonly #hash: NodeHash

  constructor (secret?: string | Uint8Array | ArrayBuffer | ArrayBufferView) {
    this.#hash = secret === undefined
      ? createHash('sha256')
      : createHmac('sha256', secret as Uint8Array) as unknown as NodeHash
  }

  update (data: string | Uint8Array | ArrayBuffer | ArrayBufferView) {
    this.#hash.update(data as Uint8Array)
  }

  async digest (): Promise<Uint8Array> {
    return this.#hash.digest()
  }

  reset () {}
}
