import { DeleteObjectsCommand } from '@aws-sdk/client-s3'
import type { IncomingHttpHeaders } from 'node:http'
import { digest } from '../../../lib/ids.js'
import { addMetadata } from './attributes.js'
import { requestsInFlight, S3Connection, type ObjectStoreOptions } from './connection.js'
import { S3Error } from './errors.js'
import {
  bareEtag, checkPresigned, etagOf, md5Of, presentEtag, readBody, readText, type BodyInfo, type PresignedRequest,
  type PresignedResponse
} from './http.js'
import { parseListPage, type ObjectInfo } from './list.js'
import { abortUpload, MultipartUpload, pendingUploads, type PendingUpload } from './multipart.js'

export interface StoredObject {
  body: Buffer
  etag: string
  size: number
  /** User metadata, names in lower case. */
  metadata: Record<string, string>
  /** The MD5 of the whole object, where S3 tells it. */
  md5: string | undefined
}

/** What S3 has, with its user metadata, names in lower case. */
export interface HeadObject extends ObjectInfo { metadata: Record<string, string> }

export interface GetOptions {
  /** The version that is wanted; another one is an error `PreconditionFailed`. */
  etag?: string
  /** Without a length the whole object. */
  start?: number
  length?: number
}

const deletesAtOnce = 1000
const metadataPrefix = 'x-amz-meta-'

/**
 * The objects under one prefix of a bucket. Its own requests are retried as far as their errors allow it. It also signs
 * requests for others to send, where the bytes are, and judges what S3 answered to those: retrying them is up to the
 * caller, who asks {@link prepareRetry} in between.
 */
export class ObjectStore {
  readonly #connection: S3Connection
  readonly #prefix: string
  /** So many requests are sent at once; more wait. */
  readonly requestsInFlight = requestsInFlight

  constructor (options: ObjectStoreOptions) {
    this.#connection = new S3Connection(options)
    this.#prefix = options.prefix
  }

  /** Where presigned requests go: scheme, host and port. */
  get origin (): string {
    return this.#connection.origin
  }

  /** Aborted when its requests are no longer wanted. */
  get signal (): AbortSignal | undefined {
    return this.#connection.signal
  }

  /**
   * Everything under the prefix and `start`, page by page, in the order of the keys' bytes.
   * @param after only keys greater than this one. @throws {S3Error}
   */
  async * list (start = '', after?: string): AsyncGenerator<ObjectInfo[]> {
    let token: string | undefined
    do {
      const query = {
        'list-type': '2',
        prefix: this.#prefix + start,
        // XML cannot express every character of a key.
        'encoding-type': 'url',
        ...(after !== undefined && { 'start-after': this.#prefix + after }),
        ...(token !== undefined && { 'continuation-token': token })
      }
      const page = await this.#connection.retry(async () => {
        const response = await this.#connection.send({ method: 'GET', key: '', query })
        return parseListPage(await readText(response), this.#prefix)
      })
      yield page.objects
      token = page.next
    } while (token !== undefined)
  }

  /** @returns the ETag, and the SHA-256, which S3 has checked. @throws {S3Error} */
  async put (
    key: string, bytes: Buffer, metadata: Record<string, string> = {}
  ): Promise<{ etag: string, sha256: string }> {
    const sha256 = digest(bytes)
    const request = this.#putRequest(key, { hash: sha256, size: bytes.length }, metadata)
    const etag = await this.#connection.retry(async () => await etagOf(await this.#connection.send(request, bytes)))
    return { etag, sha256 }
  }

  /**
   * A whole object, or `length` bytes from `start`.
   * @param into takes the bytes; it must be exactly as long as what comes. @throws {S3Error}
   */
  async get (key: string, options: GetOptions = {}, into?: Buffer): Promise<StoredObject> {
    return await this.#connection.retry(async () => {
      const response = await this.#connection.send(this.#getRequest(key, options))
      const size = Number(response.headers['content-length'])
      const body = into?.length === size ? into : into === undefined ? Buffer.allocUnsafeSlow(size) : undefined
      if (body === undefined) {
        response.destroy()
        throw new S3Error('IncompleteBody')
      }
      await readBody(response, body)
      const { headers } = response
      const md5 = md5Of(headers, options.etag)
      return { body, size, etag: bareEtag(headers.etag), metadata: metadataOf(headers), md5 }
    })
  }

  /** What there is at a key; undefined when there is nothing. @throws {S3Error} */
  async head (key: string): Promise<HeadObject | undefined> {
    try {
      return await this.#connection.retry(async () => {
        const headers = await this.#headersOf('HEAD', key).catch(async (error: unknown) => {
          // The refusal of a HEAD has no body to say why; that of a GET has.
          if (error instanceof S3Error && (error.status === 400 || error.status === 403)) {
            return await this.#headersOf('GET', key)
          }
          throw error
        })
        const { etag, 'content-length': size, 'last-modified': storedAt = '' } = headers
        const metadata = metadataOf(headers)
        return { key, size: Number(size), etag: bareEtag(etag), storedAt: Date.parse(storedAt) || 0, metadata }
      })
    } catch (error) {
      if (error instanceof S3Error && error.status === 404) return
      throw error
    }
  }

  /** Adds user metadata to an object that is all else as it was. @returns the new ETag. @throws {S3Error} */
  async addMetadata (key: string, etag: string, metadata: Record<string, string>): Promise<string> {
    return await addMetadata(this.#connection, key, etag, metadata)
  }

  /** A PUT for another program to send, with that body and no other. @throws {S3Error} */
  async presignPut (key: string, body: BodyInfo, metadata: Record<string, string>): Promise<PresignedRequest> {
    return await this.#connection.presign(this.#putRequest(key, body, metadata))
  }

  /** A GET for another program to send. @throws {S3Error} */
  async presignGet (key: string, options: GetOptions): Promise<PresignedRequest> {
    return await this.#connection.presign(this.#getRequest(key, options))
  }

  /**
   * Judges what came of a presigned request.
   * @param etag that it named. @throws {S3Error} when it was refused, or did not reach S3.
   */
  accept (response: PresignedResponse, etag?: string): Pick<StoredObject, 'metadata' | 'md5'> {
    checkPresigned(response)
    const { headers = {} } = response
    return { metadata: metadataOf(headers), md5: md5Of(headers, etag) }
  }

  /** Judges what came of a presigned PUT. @returns the ETag, as its sender tells it. @throws {S3Error} */
  acceptPut (response: PresignedResponse): string {
    checkPresigned(response)
    return presentEtag(response.etag)
  }

  /** What is presigned from now on has new credentials, or the server's clock, when the error says so. */
  prepareRetry (error: S3Error): void {
    this.#connection.prepareRetry(error)
  }

  /** Starts to store an object in parts. @throws {S3Error} */
  async startUpload (key: string, metadata: Record<string, string>): Promise<MultipartUpload> {
    return await MultipartUpload.start(this.#connection, key, metadata)
  }

  /** @throws {S3Error} */
  async abort (pending: Pick<PendingUpload, 'key' | 'uploadId'>): Promise<void> {
    await abortUpload(this.#connection, pending)
  }

  /** All uploads under the prefix that are pending. @throws {S3Error} */
  async pendingUploads (): Promise<PendingUpload[]> {
    return await pendingUploads(this.#connection)
  }

  /** @returns what could not be deleted, with S3's code. @throws {S3Error} */
  async delete (keys: string[]): Promise<{ key: string, code: string }[]> {
    const { client, bucket, signal } = this.#connection
    const failed: { key: string, code: string }[] = []
    for (let from = 0; from < keys.length; from += deletesAtOnce) {
      const Objects = keys.slice(from, from + deletesAtOnce).map((key) => ({ Key: this.#prefix + key }))
      const command = new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects, Quiet: true } })
      const { Errors } = await this.#connection.retry(() => client.send(command, { abortSignal: signal! }))
      for (const { Key, Code } of Errors ?? []) {
        failed.push({ key: Key!.slice(this.#prefix.length), code: Code ?? 'Unknown' })
      }
    }
    return failed
  }

  close (): void {
    this.#connection.close()
  }

  async #headersOf (method: 'HEAD' | 'GET', key: string): Promise<IncomingHttpHeaders> {
    const response = await this.#connection.send({ method, key: this.#prefix + key })
    if (method === 'HEAD') response.resume()
    else response.destroy()
    return response.headers
  }

  #putRequest (key: string, body: BodyInfo, metadata: Record<string, string>) {
    const headers = Object.fromEntries(Object.entries(metadata).map(([name, value]) => [metadataPrefix + name, value]))
    return { method: 'PUT' as const, key: this.#prefix + key, headers, body }
  }

  #getRequest (key: string, { etag, start = 0, length }: GetOptions) {
    const headers = {
      ...(etag !== undefined && { 'if-match': `"${etag}"` }),
      ...(length !== undefined && { range: `bytes=${start}-${start + length - 1}` })
    }
    return { method: 'GET' as const, key: this.#prefix + key, headers }
  }
}

function metadataOf (headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(Object.entries(headers)
    .filter(([name]) => name.startsWith(metadataPrefix))
    .map(([name, value]) => [name.slice(metadataPrefix.length), String(value)]))
}
