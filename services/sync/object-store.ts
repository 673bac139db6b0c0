import {
  AbortMultipartUploadCommand, CompleteMultipartUploadCommand, CreateMultipartUploadCommand, DeleteObjectsCommand,
  ListMultipartUploadsCommand, ListObjectsV2Command, S3Client, S3ServiceException
} from '@aws-sdk/client-s3'
import { NodeHttpHandler } from '@smithy/node-http-handler'
import { createHash } from 'node:crypto'
import { Agent as HttpAgent, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { retrying, S3Fault } from './faults.js'
import { readBody, S3Http, type S3Credentials, type S3Target } from './s3-http.js'

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

export interface ObjectInfo {
  /** Below the prefix. */
  key: string
  size: number
  etag: string
  /** When S3 got it; milliseconds since 1970. */
  storedAt: number
}

export interface StoredObject {
  body: Buffer
  etag: string
  size: number
  /** User metadata, names in lower case. */
  metadata: Record<string, string>
}

export interface GetOptions {
  /** The version it has to be; another one is a fault `PreconditionFailed`. */
  etag?: string
  start?: number
  length?: number
  /** Takes the bytes; it must be as long as what comes. */
  into?: Buffer
}

export interface Pending { key: string, uploadId: string, initiated: Date }

/** More at once does not make S3 faster, and costs memory. */
export const requestsAtOnce = 32
const deletesAtOnce = 1000
const metadataPrefix = 'x-amz-meta-'

/** The objects under one prefix of a bucket. Every fault is tried again as its kind deserves. */
export class ObjectStore {
  readonly #client: S3Client
  readonly #http: S3Http
  readonly #bucket: string
  readonly #prefix: string
  readonly #credentials: CredentialSource
  readonly #signal: AbortSignal | undefined

  constructor (options: ObjectStoreOptions) {
    const { bucket, prefix, credentials, signal, region, endpoint, forcePathStyle, idleMs = 30_000 } = options
    this.#bucket = bucket
    this.#prefix = prefix
    this.#credentials = credentials
    this.#signal = signal
    this.#http = new S3Http(options, () => credentials.get().then(asIdentity), requestsAtOnce)
    const agent = { keepAlive: true, maxSockets: 8 }
    this.#client = new S3Client({
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

  /** Everything under the prefix and `start`, page by page, in the order of the keys' bytes. @throws {S3Fault} */
  async * list (start = ''): AsyncGenerator<ObjectInfo[]> {
    let token: string | undefined
    do {
      const command = new ListObjectsV2Command({
        Bucket: this.#bucket,
        Prefix: this.#prefix + start,
        // XML can't carry every character of a key.
        EncodingType: 'url',
        ...(token !== undefined && { ContinuationToken: token })
      })
      const page = await this.#send(async () => {
        const page = await this.#client.send(command, { abortSignal: this.#signal! })
        // The SDK takes a list that ends early for a short one.
        if (page.KeyCount !== (page.Contents?.length ?? 0)) throw new S3Fault('IncompleteBody')
        return page
      })
      yield (page.Contents ?? []).map(({ Key, Size, ETag, LastModified }) => ({
        key: decodeKey(Key!).slice(this.#prefix.length),
        size: Size ?? 0,
        etag: bare(ETag),
        storedAt: LastModified?.getTime() ?? 0
      }))
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined
    } while (token !== undefined)
  }

  /** @returns the ETag and the SHA-256 that S3 has checked. @throws {S3Fault} */
  async put (
    key: string, body: Buffer, metadata: Record<string, string> = {}
  ): Promise<{ etag: string, sha256: string }> {
    const sha256 = hashOf(body)
    const headers = Object.fromEntries(Object.entries(metadata).map(([name, value]) => [metadataPrefix + name, value]))
    const etag = await this.#send(() => this.#put(key, body, sha256, headers, {}))
    return { etag, sha256 }
  }

  /**
   * A whole object, or `length` bytes from `start`.
   * @throws {S3Fault}
   */
  async get (key: string, options: GetOptions = {}): Promise<StoredObject> {
    const { etag, start = 0, length, into } = options
    const headers = {
      ...(etag !== undefined && { 'if-match': `"${etag}"` }),
      ...(length !== undefined && { range: `bytes=${start}-${start + length - 1}` })
    }
    return await this.#send(async () => {
      const response = await this.#http.send({ method: 'GET', key: this.#prefix + key, headers, signal: this.#signal })
      const size = Number(response.headers['content-length'])
      const body = into?.length === size ? into : into === undefined ? Buffer.allocUnsafeSlow(size) : undefined
      if (body === undefined) {
        response.destroy()
        throw new S3Fault('IncompleteBody')
      }
      await readBody(response, body)
      return { body, size, etag: bare(response.headers.etag), metadata: metadataOf(response) }
    })
  }

  /** @throws {S3Fault} */
  async startUpload (key: string, metadata: Record<string, string>): Promise<MultipartUpload> {
    const target = { Bucket: this.#bucket, Key: this.#prefix + key }
    const { UploadId } = await this.#send(() => this.#client.send(
      new CreateMultipartUploadCommand({ ...target, Metadata: metadata }), { abortSignal: this.#signal! }))
    const etags: string[] = []
    return {
      part: async (number, body) => {
        const sha256 = hashOf(body)
        const query = { partNumber: String(number), uploadId: UploadId! }
        etags[number - 1] = await this.#send(() => this.#put(key, body, sha256, {}, query))
        return sha256
      },
      complete: async () => {
        const parts = etags.map((ETag, index) => ({ ETag: `"${ETag}"`, PartNumber: index + 1 }))
        return await this.#complete(key, UploadId!, parts)
      },
      abort: async () => { await this.abort({ key, uploadId: UploadId! }) }
    }
  }

  /** A cancelled sync has to clean up, too: this is not stopped by its signal. @throws {S3Fault} */
  async abort ({ key, uploadId }: Pick<Pending, 'key' | 'uploadId'>): Promise<void> {
    const target = { Bucket: this.#bucket, Key: this.#prefix + key }
    const command = new AbortMultipartUploadCommand({ ...target, UploadId: uploadId })
    await this.#send(() => this.#client.send(command), false).catch((error: unknown) => {
      if (!(error instanceof S3Fault) || error.status !== 404) throw error
    })
  }

  /** Uploads under the prefix that were begun and neither completed nor aborted. @throws {S3Fault} */
  async pendingUploads (): Promise<Pending[]> {
    const pending: Pending[] = []
    let markers: { KeyMarker?: string, UploadIdMarker?: string } | undefined = {}
    while (markers !== undefined) {
      const page = await this.#send(() => this.#client.send(new ListMultipartUploadsCommand({
        Bucket: this.#bucket, Prefix: this.#prefix, EncodingType: 'url', ...markers
      }), { abortSignal: this.#signal! }))
      for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
        const key = decodeKey(Key!).slice(this.#prefix.length)
        pending.push({ key, uploadId: UploadId!, initiated: Initiated! })
      }
      markers = page.IsTruncated === true && page.NextKeyMarker !== undefined
        ? {
            KeyMarker: decodeKey(page.NextKeyMarker),
            ...(page.NextUploadIdMarker !== undefined && { UploadIdMarker: page.NextUploadIdMarker })
          }
        : undefined
    }
    return pending
  }

  /** @returns what could not be deleted, with S3's code. @throws {S3Fault} */
  async delete (keys: string[]): Promise<{ key: string, code: string }[]> {
    const failed: { key: string, code: string }[] = []
    for (let from = 0; from < keys.length; from += deletesAtOnce) {
      const Objects = keys.slice(from, from + deletesAtOnce).map((key) => ({ Key: this.#prefix + key }))
      const command = new DeleteObjectsCommand({ Bucket: this.#bucket, Delete: { Objects, Quiet: true } })
      const { Errors } = await this.#send(() => this.#client.send(command, { abortSignal: this.#signal! }))
      for (const { Key, Code } of Errors ?? []) {
        failed.push({ key: Key!.slice(this.#prefix.length), code: Code ?? 'Unknown' })
      }
    }
    return failed
  }

  close (): void {
    this.#http.close()
    this.#client.destroy()
  }

  async #put (key: string, body: Buffer, bodyHash: string, headers: Texts, query: Texts) {
    const response = await this.#http.send({
      method: 'PUT', key: this.#prefix + key, body, bodyHash, headers, query, signal: this.#signal
    })
    response.resume()
    return bare(response.headers.etag)
  }

  /** The answer may get lost after S3 has completed it: then the upload is unknown and the object is there. */
  async #complete (key: string, UploadId: string, Parts: { ETag: string, PartNumber: number }[]): Promise<string> {
    const expected = multipartEtag(Parts.map(({ ETag }) => bare(ETag)))
    const command = new CompleteMultipartUploadCommand({
      Bucket: this.#bucket, Key: this.#prefix + key, UploadId, MultipartUpload: { Parts }
    })
    try {
      const { ETag } = await this.#send(() => this.#client.send(command, { abortSignal: this.#signal! }))
      // Older Ceph does not tell.
      return bare(ETag) || (await this.get(key, { length: 1 })).etag
    } catch (error) {
      if (!(error instanceof S3Fault) || error.status !== 404) throw error
      return (await this.get(key, { etag: expected, length: 1 })).etag
    }
  }

  async #send<T> (work: () => Promise<T>, stoppable = true): Promise<T> {
    return await retrying(() => work().catch((error: unknown) => { throw toFault(error) }), {
      ...(stoppable && { signal: this.#signal }),
      onFault: (fault) => {
        if (fault.kind === 'credentials') this.#credentials.renew()
        if (fault.kind === 'skew' && fault.serverTime !== undefined) this.#http.skewMs = fault.serverTime - Date.now()
        if (fault.kind === 'skew') this.#client.config.systemClockOffset = this.#http.skewMs
      }
    })
  }
}

type Texts = Record<string, string>

export interface MultipartUpload {
  /** @param number from 1. @returns the SHA-256 that S3 has checked. */
  part (number: number, body: Buffer): Promise<string>
  /** @returns the ETag of the object. */
  complete (): Promise<string>
  abort (): Promise<void>
}

function toFault (error: unknown): unknown {
  if (error instanceof S3ServiceException || (error as S3ServiceException).$metadata?.httpStatusCode !== undefined) {
    const { name, $metadata, $response } = error as S3ServiceException
    // Not kept as the cause: it may repeat an access key.
    return new S3Fault(name, { status: $metadata.httpStatusCode, date: $response?.headers['date'] })
  }
  if (error instanceof S3Fault || !(error instanceof Error) || error.name === 'AbortError') return error
  const { code = error.name } = error as NodeJS.ErrnoException
  return isOurs(error) ? error : new S3Fault(code, { cause: error })
}

/** An error of this service's own, such as one of reading the credentials. */
function isOurs (error: Error): boolean {
  return error.name === 'AppError'
}

/** Amazon's rule: the MD5 of the parts' MD5s. Servers that don't keep to it are seen as having another object. */
function multipartEtag (etags: string[]): string {
  const joined = Buffer.concat(etags.map((etag) => Buffer.from(etag, 'hex')))
  return `${createHash('md5').update(joined).digest('hex')}-${etags.length}`
}

export function hashOf (body: Buffer): string {
  return createHash('sha256').update(body).digest('hex')
}

function bare (etag: string | undefined): string {
  return (etag ?? '').replace(/^W\//, '').replaceAll('"', '')
}

function decodeKey (key: string): string {
  return decodeURIComponent(key.replaceAll('+', '%20'))
}

function metadataOf ({ headers }: IncomingMessage): Record<string, string> {
  return Object.fromEntries(Object.entries(headers)
    .filter(([name]) => name.startsWith(metadataPrefix))
    .map(([name, value]) => [name.slice(metadataPrefix.length), String(value)]))
}

/** Both signers ask whenever these are about to expire; so close an end makes them ask every time. */
function asIdentity (credentials: S3Credentials) {
  return { ...credentials, expiration: new Date(Date.now() + 1000) }
}
