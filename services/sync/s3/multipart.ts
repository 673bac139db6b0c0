import {
  AbortMultipartUploadCommand, CompleteMultipartUploadCommand, CreateMultipartUploadCommand,
  ListMultipartUploadsCommand
} from '@aws-sdk/client-s3'
import { createHash } from 'node:crypto'
import { digest } from '../../../lib/ids.js'
import type { SendPresigned } from '../transfer/courier.js'
import type { S3Connection } from './connection.js'
import { S3Error } from './errors.js'
import { bareEtag, decodeKey, etagOf } from './list.js'

export interface Pending { key: string, uploadId: string, initiated: Date }

export interface PartContent { hash: string, size: number }

/** An object that comes about in parts. */
export class MultipartUpload {
  readonly #connection: S3Connection
  readonly #key: string
  readonly #uploadId: string
  readonly #etags: string[] = []

  constructor (connection: S3Connection, key: string, uploadId: string) {
    this.#connection = connection
    this.#key = key
    this.#uploadId = uploadId
  }

  /** @throws {S3Error} */
  static async start (
    connection: S3Connection, key: string, Metadata: Record<string, string>
  ): Promise<MultipartUpload> {
    const { client, signal } = connection
    const command = new CreateMultipartUploadCommand({ ...targetOf(connection, key), Metadata })
    const { UploadId } = await connection.send(() => client.send(command, { abortSignal: signal! }))
    return new MultipartUpload(connection, key, UploadId!)
  }

  /** @param number from 1. @returns the SHA-256 that S3 has checked. @throws {S3Error} */
  async part (number: number, body: Buffer): Promise<string> {
    const hash = digest(body)
    const request = { ...this.#request(number), body, bodyHash: hash, signal: this.#connection.signal }
    this.#etags[number - 1] = await this.#connection.send(async () => etagOf(await this.#connection.http.send(request)))
    return hash
  }

  /** A part that a courier has. @throws {S3Error | CourierLost} */
  async partFrom (courier: SendPresigned, number: number, { hash, size }: PartContent): Promise<void> {
    const request = { ...this.#request(number), bodyHash: hash, bodySize: size }
    const { etag } = await this.#connection.sendPresigned(courier, request)
    this.#etags[number - 1] = bareEtag(etag)
  }

  /**
   * The answer may get lost after S3 has completed it: then the upload is unknown and the object is there.
   * @returns the ETag of the object. @throws {S3Error}
   */
  async complete (): Promise<string> {
    const Parts = this.#etags.map((etag, index) => ({ ETag: `"${etag}"`, PartNumber: index + 1 }))
    const { client, signal } = this.#connection
    const command = new CompleteMultipartUploadCommand({
      ...targetOf(this.#connection, this.#key), UploadId: this.#uploadId, MultipartUpload: { Parts }
    })
    try {
      const { ETag } = await this.#connection.send(() => client.send(command, { abortSignal: signal! }))
      // Older Ceph does not tell.
      return bareEtag(ETag) || await this.#find()
    } catch (error) {
      if (!(error instanceof S3Error) || error.status !== 404) throw error
      return await this.#find(multipartEtag(this.#etags))
    }
  }

  /** @throws {S3Error} */
  async abort (): Promise<void> {
    await abortUpload(this.#connection, { key: this.#key, uploadId: this.#uploadId })
  }

  #request (number: number) {
    const query = { partNumber: String(number), uploadId: this.#uploadId }
    return { method: 'PUT' as const, key: this.#connection.prefix + this.#key, query }
  }

  async #find (etag?: string): Promise<string> {
    const { http, prefix, signal } = this.#connection
    const headers = { range: 'bytes=0-0', ...(etag !== undefined && { 'if-match': `"${etag}"` }) }
    const request = { method: 'GET' as const, key: prefix + this.#key, headers, signal }
    return await this.#connection.send(async () => etagOf(await http.send(request)))
  }
}

/** A cancelled sync has to clean up, too: this is not stopped by its signal. @throws {S3Error} */
export async function abortUpload (
  connection: S3Connection, { key, uploadId }: Pick<Pending, 'key' | 'uploadId'>
): Promise<void> {
  const command = new AbortMultipartUploadCommand({ ...targetOf(connection, key), UploadId: uploadId })
  await connection.send(() => connection.client.send(command), { stoppable: false }).catch((error: unknown) => {
    if (!(error instanceof S3Error) || error.status !== 404) throw error
  })
}

/** Uploads under the prefix that were begun and neither completed nor aborted. @throws {S3Error} */
export async function pendingUploads (connection: S3Connection): Promise<Pending[]> {
  const { client, bucket, prefix, signal } = connection
  const pending: Pending[] = []
  let markers: { KeyMarker?: string, UploadIdMarker?: string } | undefined = {}
  while (markers !== undefined) {
    const command: ListMultipartUploadsCommand = new ListMultipartUploadsCommand({
      Bucket: bucket, Prefix: prefix, EncodingType: 'url', ...markers
    })
    const page = await connection.send(() => client.send(command, { abortSignal: signal! }))
    for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
      pending.push({ key: decodeKey(Key!).slice(prefix.length), uploadId: UploadId!, initiated: Initiated! })
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

function targetOf ({ bucket, prefix }: S3Connection, key: string) {
  return { Bucket: bucket, Key: prefix + key }
}

/** Amazon's rule: the MD5 of the parts' MD5s. Servers that don't keep to it are seen as having another object. */
function multipartEtag (etags: string[]): string {
  const joined = Buffer.concat(etags.map((etag) => Buffer.from(etag, 'hex')))
  return `${createHash('md5').update(joined).digest('hex')}-${etags.length}`
}
