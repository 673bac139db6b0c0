import { createHash, createHmac, type Hash } from 'node:crypto'
import {
  Agent as HttpAgent, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage, type RequestOptions
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { SignatureV4 } from '@smithy/signature-v4'
import { S3Error } from './errors.js'

export interface S3Target {
  bucket: string
  region: string
  /** Amazon's own unless given. */
  endpoint?: string | undefined
  forcePathStyle: boolean
  /** How long a connection may be silent before the request counts as failed. */
  idleMs?: number | undefined
}

export interface S3Credentials { accessKeyId: string, secretAccessKey: string, sessionToken?: string }

/** What is signed of a body. */
export interface BodyInfo {
  /** SHA-256 in hex. */
  hash: string
  size: number
}

export interface S3Request {
  method: 'GET' | 'HEAD' | 'PUT'
  /** The whole key, not escaped. */
  key: string
  query?: Record<string, string>
  headers?: Record<string, string>
  /** Its hash is signed, so S3 refuses a body that was changed on the way. */
  body?: BodyInfo
}

/** A request that anyone who has it may send, once or more, until it expires: with these headers, and no other body. */
export interface PresignedRequest { url: string, headers: Record<string, string> }

/** What S3 answered to a presigned request, as its sender reports it; or the code of why there was no answer. */
export interface PresignedResponse {
  status?: number
  /** S3's own code of a refusal, or that of a broken connection. */
  code?: string
  date?: string
  etag?: string
  /** Those that describe an object. */
  headers?: Record<string, string>
}

const emptyHash = createHash('sha256').digest('hex')
const errorTextLimit = 64 * 1024

/** PUT and GET of objects and lists, signed by the SDK's own signer and sent over connections that are kept open. */
export class S3Http {
  /** Scheme, host and port. */
  readonly origin: string
  /** Parts of the URL, which `URL` works out anew whenever it is asked. */
  readonly #address: { protocol: string, hostname: string, port?: number }
  readonly #host: string
  readonly #bucketPath: string
  readonly #agent: HttpAgent
  readonly #signer: SignatureV4
  readonly #idleMs: number
  /** How far the server's clock is ahead of ours. */
  skewMs = 0

  /** @param concurrency further requests wait for a connection. */
  constructor (target: S3Target, credentials: () => Promise<S3Credentials>, concurrency: number) {
    const { url, inPath } = addressOf(target)
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

  /** @returns the response of a success, its body not read yet. @throws {S3Error} */
  async send (request: S3Request, bytes?: Buffer, signal?: AbortSignal): Promise<IncomingMessage> {
    const { path, headers } = await this.#signer.sign(this.#unsigned(request), { signingDate: this.#now() })
    const search = searchOf(request.query ?? {})
    const response = await this.#exchange({
      agent: this.#agent,
      host: this.#address.hostname.replace(/^\[|\]$/g, ''),
      port: this.#address.port,
      method: request.method,
      path: search === '' ? path : `${path}?${search}`,
      headers,
      ...(signal !== undefined && { signal })
    }, bytes)
    if (response.statusCode! < 300) return response
    throw await errorOf(response)
  }

  /** The same request for another program to send; nothing of it can be changed, not even the body. */
  async presign (request: S3Request, expiresInSeconds: number): Promise<PresignedRequest> {
    const unsigned = this.#unsigned(request)
    const { host, ...headers } = unsigned.headers
    const { path, query } = await this.#signer.presign(unsigned, {
      expiresIn: expiresInSeconds, unhoistableHeaders: new Set(Object.keys(headers)), signingDate: this.#now()
    })
    return { url: `${this.origin}${path}?${searchOf(query as Record<string, string>)}`, headers }
  }

  close (): void {
    this.#agent.destroy()
  }

  #now (): Date {
    return new Date(Date.now() + this.skewMs)
  }

  #unsigned ({ method, key, query = {}, headers = {}, body }: S3Request) {
    return {
      method,
      ...this.#address,
      path: `${this.#bucketPath}/${escapeKey(key)}`,
      query,
      headers: {
        ...headers,
        host: this.#host,
        'x-amz-content-sha256': body?.hash ?? emptyHash,
        ...(method === 'PUT' && { 'content-length': String(body?.size ?? 0) })
      }
    }
  }

  #exchange (options: RequestOptions, bytes: Buffer | undefined): Promise<IncomingMessage> {
    const request = this.#address.protocol === 'https:' ? httpsRequest : httpRequest
    return new Promise((resolve, reject) => {
      const outgoing = request(options, resolve)
      outgoing.setTimeout(this.#idleMs, () => outgoing.destroy(new S3Error('Timeout')))
      outgoing.on('error', (cause) => reject(networkError(cause)))
      outgoing.end(bytes)
    })
  }
}

/** @throws {S3Error} when S3 refused the request, or was not reached. */
export function checkPresigned ({ status, code, date }: PresignedResponse): void {
  if (code === undefined && status !== undefined && status < 300) return
  throw new S3Error(code ?? `Http${status}`, { status, date })
}

/**
 * The ETag of what was stored.
 * @throws {S3Error} without one, and when the body is an error: what S3 finds out late it says in that of a success.
 */
export async function etagOf (response: IncomingMessage): Promise<string> {
  const { statusCode: status, headers: { etag, date, 'content-length': length } } = response
  if (length === '0') response.resume()
  else {
    const text = await readText(response)
    if (/<Error[\s>]/.test(text.slice(0, errorTextLimit))) {
      throw new S3Error(codeIn(text) ?? 'InternalError', { status, date })
    }
  }
  return presentEtag(etag)
}

/** @throws {S3Error} when there is none: nothing would tell whether it is there. */
export function presentEtag (etag: string | undefined): string {
  const bare = bareEtag(etag)
  if (bare === '') throw new S3Error('MissingETag')
  return bare
}

/** Without quotes, nor the mark of a weak one. */
export function bareEtag (etag: string | undefined): string {
  return (etag ?? '').replace(/^W\//, '').replaceAll('"', '')
}

/**
 * The MD5 of a whole object, where its ETag is one: it was stored in one piece, and is not encrypted with a key of KMS
 * or of a client (S3's API reference, Object).
 * @param headers of the response. @param etag of the object, where it is known from elsewhere.
 */
export function md5Of (headers: IncomingHttpHeaders, etag = bareEtag(headers.etag)): string | undefined {
  const isOther = String(headers['x-amz-server-side-encryption']).startsWith('aws:kms') ||
    headers['x-amz-server-side-encryption-customer-algorithm'] !== undefined
  return !isOther && /^[0-9a-f]{32}$/.test(etag) ? etag : undefined
}

/** Reads a body of known length into `into`. One that ends early is an error, never a short file. @throws {S3Error} */
export async function readBody (response: IncomingMessage, into: Buffer): Promise<void> {
  let length = 0
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      if (length + chunk.length > into.length) break
      length += chunk.copy(into, length)
    }
  } catch (cause) {
    throw networkError(cause)
  }
  if (length !== into.length || !response.complete) {
    response.destroy()
    throw new S3Error('IncompleteBody')
  }
}

/** Reads a body of unknown length as text. @throws {S3Error} */
export async function readText (response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk)
  } catch (cause) {
    throw networkError(cause)
  }
  if (!response.complete) throw new S3Error('IncompleteBody')
  return Buffer.concat(chunks).toString()
}

async function errorOf (response: IncomingMessage): Promise<S3Error> {
  let text = ''
  try {
    for await (const chunk of response) {
      text += chunk
      if (text.length > errorTextLimit) break
    }
  } catch {
    // The status says enough.
  }
  return new S3Error(codeIn(text) ?? `Http${response.statusCode}`, { status: response.statusCode, date: response.headers.date })
}

function codeIn (text: string): string | undefined {
  return /<Code>([A-Za-z0-9.]{1,100})<\/Code>/.exec(text)?.[1]
}

function networkError (cause: unknown): S3Error {
  if (cause instanceof S3Error) return cause
  const { code, name } = cause as NodeJS.ErrnoException
  return new S3Error(code ?? name ?? 'NetworkError', { cause })
}

/** The URL of a bucket's host, and whether the bucket's name belongs into the path. */
function addressOf ({ bucket, region, endpoint, forcePathStyle }: S3Target): { url: URL, inPath: boolean } {
  // A bucket name with a dot does not match the certificate of a virtual host.
  const inPath = forcePathStyle || bucket.includes('.')
  const domain = region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com'
  const url = new URL(endpoint ?? `https://s3.${region}.${domain}`)
  if (!inPath) url.hostname = `${bucket}.${url.hostname}`
  return { url, inPath }
}

/** Escapes a key the way the signature wants it: every byte that is not plain, but not the slashes. */
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

/** Node's own SHA-256 in the form that the signer expects. */
class Sha256 {
  readonly #hash: Hash

  constructor (secret?: string | Uint8Array | ArrayBuffer | ArrayBufferView) {
    this.#hash = secret === undefined
      ? createHash('sha256')
      : createHmac('sha256', secret as Uint8Array) as unknown as Hash
  }

  update (data: string | Uint8Array | ArrayBuffer | ArrayBufferView) {
    this.#hash.update(data as Uint8Array)
  }

  async digest (): Promise<Uint8Array> {
    return this.#hash.digest()
  }

  reset () {}
}
