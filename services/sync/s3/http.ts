import { createHash } from 'node:crypto'
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { SignatureV4 } from '@smithy/signature-v4'
import type { PresignedRequest } from '../transfer/courier.js'
import { addressOf, escapeKey, searchOf, type S3Target } from './address.js'
import { S3Error } from './errors.js'
import { Sha256 } from './hash.js'
import { errorOf, networkError } from './response.js'

export interface S3Credentials { accessKeyId: string, secretAccessKey: string, sessionToken?: string }

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

  /** The answer of a success, its body unread. @throws {S3Error} */
  async send (request: S3Request): Promise<IncomingMessage> {
    const signed = await this.#signer.sign(this.#unsigned(request), { signingDate: this.#now() })
    const { method, query = {}, body, signal } = request
    const response = await this.#exchange({ ...signed, method, query }, body, signal)
    if (response.statusCode! < 300) return response
    throw await errorOf(response)
  }

  /** The same request for somebody else to send: nothing of it can be changed, its body neither. */
  async presign (request: S3Request, expiresIn: number): Promise<PresignedRequest> {
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
      outgoing.setTimeout(this.#idleMs, () => outgoing.destroy(new S3Error('Timeout')))
      outgoing.on('error', (cause) => reject(networkError(cause)))
      outgoing.end(body)
    })
  }
}
