import { S3Client, S3ServiceException } from '@aws-sdk/client-s3'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { Agent as HttpAgent, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { S3Error, withRetries } from './errors.js'
import { S3Http, type PresignedRequest, type S3Credentials, type S3Request, type S3Target } from './http.js'

/** Where credentials come from; after `renew` the next `get` does not answer from a cache. */
interface CredentialSource {
  get (): Promise<S3Credentials>
  renew (): void
}

export interface ObjectStoreOptions extends S3Target {
  /** Ends in `/`, or is empty. No method reaches a key outside of it. */
  prefix: string
  credentials: CredentialSource
  /** Where those who send presigned requests find the server; by default as we do. */
  presignedEndpoint?: string | undefined
  signal?: AbortSignal | undefined
}

/** More requests at once do not make S3 faster, and cost memory. */
export const requestsInFlight = 32
/** Between its signature and its use a request waits in a queue. */
const presignedSeconds = 120

/**
 * The way to S3 for all requests of a store: its two clients, its credentials, and what to do after an error.
 *
 * The SDK does the rare requests (multipart uploads, deletes), our own {@link S3Http} the frequent ones: GET, PUT and
 * lists. The SDK takes a list that was cut short for a whole one, and what is missing from it then counts as deleted;
 * and a PUT or a GET of ours costs a third of the SDK's CPU time. See docs/decisions/0003-own-s3-client.md.
 */
export class S3Connection {
  readonly client: S3Client
  /** Of presigned requests: scheme, host and port. */
  readonly origin: string
  readonly bucket: string
  readonly prefix: string
  readonly signal: AbortSignal | undefined
  readonly #http: S3Http
  readonly #presigner: S3Http
  readonly #credentials: CredentialSource

  constructor (options: ObjectStoreOptions) {
    const { bucket, prefix, credentials, signal, region, endpoint, presignedEndpoint, forcePathStyle } = options
    const { idleMs = 30_000 } = options
    this.bucket = bucket
    this.prefix = prefix
    this.signal = signal
    this.#credentials = credentials
    const http = (target: S3Target) => new S3Http(target, () => credentials.get().then(withExpiry), requestsInFlight)
    this.#http = http(options)
    const isSame = (presignedEndpoint ?? endpoint) === endpoint
    this.#presigner = isSame ? this.#http : http({ ...options, endpoint: presignedEndpoint })
    this.origin = this.#presigner.origin
    const agent = { keepAlive: true, maxSockets: 8 }
    this.client = new S3Client({
      region,
      forcePathStyle: forcePathStyle || bucket.includes('.'),
      ...(endpoint !== undefined && { endpoint }),
      credentials: () => credentials.get().then(withExpiry),
      maxAttempts: 1,
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: new NodeHttpHandler({
        connectionTimeout: 10_000,
        requestTimeout: idleMs,
        httpAgent: new HttpAgent(agent),
        httpsAgent: new HttpsAgent(agent)
      })
    })
  }

  /**
   * Does `work` until it succeeds or another attempt makes no sense.
   * @param stoppable whether the store's signal ends it. @throws {S3Error}
   */
  async retry<T> (work: () => Promise<T>, { stoppable = true } = {}): Promise<T> {
    return await withRetries(() => work().catch((error: unknown) => { throw toS3Error(error) }), {
      signal: stoppable ? this.signal : undefined,
      onError: (error) => this.prepareRetry(error)
    })
  }

  /** The next attempt uses new credentials, or the server's clock, when the error says so. */
  prepareRetry ({ kind, serverTime }: S3Error): void {
    if (kind === 'credentials') this.#credentials.renew()
    if (kind !== 'skew') return
    if (serverTime !== undefined) this.#http.skewMs = this.#presigner.skewMs = serverTime - Date.now()
    this.client.config.systemClockOffset = this.#http.skewMs
  }

  /** One attempt. @returns the response of a success, its body not read yet. @throws {S3Error} */
  async send (request: S3Request, bytes?: Buffer): Promise<IncomingMessage> {
    return await this.#http.send(request, bytes, this.signal)
  }

  /** @throws {S3Error | AppError} when there are no credentials. */
  async presign (request: S3Request): Promise<PresignedRequest> {
    const presigned = this.#presigner.presign(request, presignedSeconds)
    return await presigned.catch((error: unknown) => { throw toS3Error(error) })
  }

  close (): void {
    this.#http.close()
    this.#presigner.close()
    this.client.destroy()
  }
}

function toS3Error (error: unknown): unknown {
  if (error instanceof S3ServiceException || (error as S3ServiceException).$metadata?.httpStatusCode !== undefined) {
    const { name, $metadata, $response } = error as S3ServiceException
    // Not kept as the cause: it may repeat an access key.
    return new S3Error(name, { status: $metadata.httpStatusCode, date: $response?.headers['date'] })
  }
  if (!(error instanceof Error) || ['AbortError', 'AppError', 'S3Error'].includes(error.name)) return error
  const { code = error.name } = error as NodeJS.ErrnoException
  return new S3Error(code, { cause: error })
}

/** Both signers ask again when credentials are about to expire: so soon that they ask every time. */
function withExpiry (credentials: S3Credentials) {
  return { ...credentials, expiration: new Date(Date.now() + 1000) }
}
