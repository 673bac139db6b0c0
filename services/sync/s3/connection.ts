import { S3Client, S3ServiceException } from '@aws-sdk/client-s3'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import type { SendPresigned, PresignedResponse } from '../transfer/courier.js'
import { requestsInFlight } from '../transfer/limits.js'
import type { S3Target } from './address.js'
import { withRetries, S3Error, type RetryOptions } from './errors.js'
import { S3Http, type S3Credentials, type S3Request } from './http.js'

/** Where credentials come from; `renew` makes the next `get` not use what is kept. */
export interface CredentialSource {
  get (): Promise<S3Credentials>
  renew (): void
}

export interface ObjectStoreOptions extends S3Target {
  /** Ends in `/`, or is empty. No method reaches a key outside of it. */
  prefix: string
  credentials: CredentialSource
  signal?: AbortSignal | undefined
}

/** Whoever can't do it after so many attempts leaves it to this service. */
const courierAttempts = 3
/** Between the signature and its use there is a queue of some requests. */
const permitSeconds = 120

export interface SendOptions {
  /** Whether the sync's signal ends it. */
  stoppable?: boolean
  attempts?: number
}

/** One way to S3 for all requests of a store: its clients, its credentials, and what a fault is worth. */
export class S3Connection {
  readonly client: S3Client
  readonly http: S3Http
  readonly bucket: string
  readonly prefix: string
  readonly signal: AbortSignal | undefined
  readonly #credentials: CredentialSource

  constructor (options: ObjectStoreOptions) {
    const { bucket, prefix, credentials, signal, region, endpoint, forcePathStyle, idleMs = 30_000 } = options
    this.bucket = bucket
    this.prefix = prefix
    this.signal = signal
    this.#credentials = credentials
    this.http = new S3Http(options, () => credentials.get().then(asIdentity), requestsInFlight)
    const agent = { keepAlive: true, maxSockets: 8 }
    this.client = new S3Client({
      region,
      forcePathStyle: forcePathStyle || bucket.includes('.'),
      ...(endpoint !== undefined && { endpoint }),
      credentials: () => credentials.get().then(asIdentity),
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

  /** Does `work` until S3 has done it or it makes no sense any more. @throws {S3Error} */
  async send<T> (work: () => Promise<T>, { stoppable = true, attempts }: SendOptions = {}): Promise<T> {
    const options: RetryOptions = {
      ...(stoppable && { signal: this.signal }),
      ...(attempts !== undefined && { attempts }),
      onFault: (fault) => {
        if (fault.kind === 'credentials') this.#credentials.renew()
        if (fault.kind === 'skew' && fault.serverTime !== undefined) this.http.skewMs = fault.serverTime - Date.now()
        if (fault.kind === 'skew') this.client.config.systemClockOffset = this.http.skewMs
      }
    }
    return await withRetries(() => work().catch((error: unknown) => { throw toFault(error) }), options)
  }

  /** Has another program send a request that is good for nothing else. @throws {S3Error | CourierLost} */
  async sendPresigned<T extends PresignedResponse> (courier: SendPresigned<T>, request: S3Request): Promise<T> {
    return await this.send(async () => {
      const answer = await courier(await this.http.presign(request, permitSeconds))
      const { status, code, date } = answer
      if (code !== undefined || status === undefined || status >= 300) {
        throw new S3Error(code ?? `Http${status}`, { status, date })
      }
      return answer
    }, { attempts: courierAttempts })
  }

  close (): void {
    this.http.close()
    this.client.destroy()
  }
}

function toFault (error: unknown): unknown {
  if (error instanceof S3ServiceException || (error as S3ServiceException).$metadata?.httpStatusCode !== undefined) {
    const { name, $metadata, $response } = error as S3ServiceException
    // Not kept as the cause: it may repeat an access key.
    return new S3Error(name, { status: $metadata.httpStatusCode, date: $response?.headers['date'] })
  }
  if (error instanceof S3Error || !(error instanceof Error) || error.name === 'AbortError') return error
  const { code = error.name } = error as NodeJS.ErrnoException
  return isOurs(error) ? error : new S3Error(code, { cause: error })
}

/** An error of this service's own, such as one of reading the credentials. */
function isOurs (error: Error): boolean {
  return ['AppError', 'CourierLost', 'CourierRefused'].includes(error.name)
}

/** Both signers ask whenever these are about to expire; so close an end makes them ask every time. */
function asIdentity (credentials: S3Credentials) {
  return { ...credentials, expiration: new Date(Date.now() + 1000) }
}
