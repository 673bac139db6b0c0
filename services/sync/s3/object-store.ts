import { DeleteObjectsCommand } from '@aws-sdk/client-s3'
import type { IncomingHttpHeaders } from 'node:http'
import { digest } from '../../../lib/ids.js'
import type { SendPresigned, PresignedResponse } from '../transfer/courier.js'
import { S3Connection, type ObjectStoreOptions } from './connection.js'
import { S3Error } from './errors.js'
import { bareEtag, etagOf, parseListPage, type ObjectInfo } from './list.js'
import { abortUpload, MultipartUpload, pendingUploads, type PartContent, type Pending } from './multipart.js'
import { readBody, readText } from './response.js'

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

const deletesAtOnce = 1000
const metadataPrefix = 'x-amz-meta-'

/** The objects under one prefix of a bucket. Every fault is tried again as its kind deserves. */
export class ObjectStore {
  readonly #connection: S3Connection
  readonly #prefix: string

  constructor (options: ObjectStoreOptions) {
    this.#connection = new S3Connection(options)
    this.#prefix = options.prefix
  }

  /** Where its requests go: scheme, host and port. */
  get origin (): string {
    return this.#connection.http.origin
  }

  /**
   * Everything under the prefix and `start`, page by page, in the order of the keys' bytes.
   * @param after only what comes after this key. @throws {S3Error}
   */
  async * list (start = '', after?: string): AsyncGenerator<ObjectInfo[]> {
    let token: string | undefined
    do {
      const query = {
        'list-type': '2',
        prefix: this.#prefix + start,
        // XML can't carry every character of a key.
        'encoding-type': 'url',
        ...(after !== undefined && { 'start-after': this.#prefix + after }),
        ...(token !== undefined && { 'continuation-token': token })
      }
      const page = await this.#connection.send(async () => {
        const response = await this.#connection.http.send({ method: 'GET', key: '', query, signal: this.#connection.signal })
        return parseListPage(await readText(response), this.#prefix)
      })
      yield page.objects
      token = page.next
    } while (token !== undefined)
  }

  /** @returns the ETag and the SHA-256 that S3 has checked. @throws {S3Error} */
  async put (
    key: string, body: Buffer, metadata: Record<string, string> = {}
  ): Promise<{ etag: string, sha256: string }> {
    const sha256 = digest(body)
    const { http, signal } = this.#connection
    const request = { ...this.#putRequest(key, metadata), body, bodyHash: sha256, signal }
    return { etag: await this.#connection.send(async () => etagOf(await http.send(request))), sha256 }
  }

  /** A body that a courier has; S3 takes no other. @returns the ETag. @throws {S3Error | CourierLost} */
  async putFrom (
    courier: SendPresigned, key: string, { hash, size }: PartContent, metadata: Record<string, string>
  ): Promise<string> {
    const request = { ...this.#putRequest(key, metadata), bodyHash: hash, bodySize: size }
    return bareEtag((await this.#connection.sendPresigned(courier, request)).etag)
  }

  /**
   * A whole object, or `length` bytes from `start`.
   * @throws {S3Error}
   */
  async get (key: string, options: GetOptions = {}): Promise<StoredObject> {
    const { into } = options
    const { http, signal } = this.#connection
    return await this.#connection.send(async () => {
      const response = await http.send({ ...this.#getRequest(key, options), signal })
      const size = Number(response.headers['content-length'])
      const body = into?.length === size ? into : into === undefined ? Buffer.allocUnsafeSlow(size) : undefined
      if (body === undefined) {
        response.destroy()
        throw new S3Error('IncompleteBody')
      }
      await readBody(response, body)
      return { body, size, etag: bareEtag(response.headers.etag), metadata: metadataOf(response.headers) }
    })
  }

  /** The same for a courier, who keeps the bytes. @returns what it says. @throws {S3Error | CourierLost} */
  async getTo<T extends PresignedResponse> (
    courier: SendPresigned<T>, key: string, options: Omit<GetOptions, 'into'>
  ): Promise<T & { metadata: Record<string, string> }> {
    const answer = await this.#connection.sendPresigned(courier, this.#getRequest(key, options))
    return { ...answer, metadata: metadataOf(answer.metadata ?? {}) }
  }

  /** @throws {S3Error} */
  async startUpload (key: string, metadata: Record<string, string>): Promise<MultipartUpload> {
    return await MultipartUpload.start(this.#connection, key, metadata)
  }

  /** @throws {S3Error} */
  async abort (pending: Pick<Pending, 'key' | 'uploadId'>): Promise<void> {
    await abortUpload(this.#connection, pending)
  }

  /** Uploads under the prefix that were begun and neither completed nor aborted. @throws {S3Error} */
  async pendingUploads (): Promise<Pending[]> {
    return await pendingUploads(this.#connection)
  }

  /** @returns what could not be deleted, with S3's code. @throws {S3Error} */
  async delete (keys: string[]): Promise<{ key: string, code: string }[]> {
    const { client, bucket, signal } = this.#connection
    const failed: { key: string, code: string }[] = []
    for (let from = 0; from < keys.length; from += deletesAtOnce) {
      const Objects = keys.slice(from, from + deletesAtOnce).map((key) => ({ Key: this.#prefix + key }))
      const command = new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects, Quiet: true } })
      const { Errors } = await this.#connection.send(() => client.send(command, { abortSignal: signal! }))
      for (const { Key, Code } of Errors ?? []) {
        failed.push({ key: Key!.slice(this.#prefix.length), code: Code ?? 'Unknown' })
      }
    }
    return failed
  }

  close (): void {
    this.#connection.close()
  }

  #putRequest (key: string, metadata: Record<string, string>) {
    const headers = Object.fromEntries(Object.entries(metadata).map(([name, value]) => [metadataPrefix + name, value]))
    return { method: 'PUT' as const, key: this.#prefix + key, headers }
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
