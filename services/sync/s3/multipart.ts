import {
  AbortMultipartUploadCommand, CompleteMultipartUploadCommand, CreateMultipartUploadCommand,
  ListMultipartUploadsCommand
} from '@aws-sdk/client-s3'
import { createHash } from 'node:crypto'
import { digest } from '../../../lib/ids.js'
import type { S3Connection } from './connection.js'
import { S3Error } from './errors.js'
import {
  bareEtag, checkPresigned, etagOf, presentEtag, type BodyInfo, type PresignedRequest, type PresignedResponse
} from './http.js'
import { decodeKey } from './list.js'

/** Some servers tell times in whole seconds. */
const timeResolutionMs = 1000

/** An upload that was started and neither completed nor aborted. */
export interface PendingUpload { key: string, uploadId: string, initiated: Date }

/** An object that is stored in parts. */
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
    const begunAt = performance.now()
    let attempts = 0
    const { UploadId } = await connection.retry(() => {
      attempts++
      return client.send(command, { abortSignal: signal! })
    })
    if (attempts > 1) await abortUnanswered(connection, key, UploadId!, performance.now() - begunAt)
    return new MultipartUpload(connection, key, UploadId!)
  }

  /** @param number from 1. @returns the SHA-256, which S3 has checked. @throws {S3Error} */
  async putPart (number: number, bytes: Buffer): Promise<string> {
    const hash = digest(bytes)
    const request = this.#partRequest(number, { hash, size: bytes.length })
    const etag = await this.#connection.retry(async () => await etagOf(await this.#connection.send(request, bytes)))
    this.#etags[number - 1] = etag
    return hash
  }

  /** A part for another program to send. @throws {S3Error} */
  async presignPart (number: number, body: BodyInfo): Promise<PresignedRequest> {
    return await this.#connection.presign(this.#partRequest(number, body))
  }

  /** Judges what came of a presigned part. @throws {S3Error} */
  acceptPart (number: number, response: PresignedResponse): void {
    checkPresigned(response)
    this.#etags[number - 1] = presentEtag(response.etag)
  }

  /**
   * The response may get lost after S3 has completed the upload: then the upload is unknown and the object is there.
   * @returns the ETag of the object. @throws {S3Error}
   */
  async complete (): Promise<string> {
    const Parts = this.#etags.map((etag, index) => ({ ETag: `"${etag}"`, PartNumber: index + 1 }))
    const { client, signal } = this.#connection
    const command = new CompleteMultipartUploadCommand({
      ...targetOf(this.#connection, this.#key), UploadId: this.#uploadId, MultipartUpload: { Parts }
    })
    try {
      const { ETag } = await this.#connection.retry(() => client.send(command, { abortSignal: signal! }))
      // Older versions of Ceph do not say.
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

  #partRequest (number: number, body: BodyInfo) {
    const query = { partNumber: String(number), uploadId: this.#uploadId }
    return { method: 'PUT' as const, key: this.#connection.prefix + this.#key, query, body }
  }

  async #find (etag?: string): Promise<string> {
    const headers = { range: 'bytes=0-0', ...(etag !== undefined && { 'if-match': `"${etag}"` }) }
    const request = { method: 'GET' as const, key: this.#connection.prefix + this.#key, headers }
    return await this.#connection.retry(async () => {
      const response = await this.#connection.send(request)
      response.resume()
      return presentEtag(response.headers.etag)
    })
  }
}

/** Not stopped by the store's signal: a cancelled sync has to clean up, too. @throws {S3Error} */
export async function abortUpload (
  connection: S3Connection, { key, uploadId }: Pick<PendingUpload, 'key' | 'uploadId'>
): Promise<void> {
  const command = new AbortMultipartUploadCommand({ ...targetOf(connection, key), UploadId: uploadId })
  await connection.retry(() => connection.client.send(command), { stoppable: false }).catch((error: unknown) => {
    if (!(error instanceof S3Error) || error.status !== 404) throw error
  })
}

/**
 * Aborts what S3 has started for attempts whose answers were lost: nobody knows the ids. By S3's clock these are as old
 * as the attempts are; others may be storing the same object.
 */
async function abortUnanswered (connection: S3Connection, key: string, uploadId: string, withinMs: number) {
  try {
    const all = (await pendingUploads(connection, key)).filter((pending) => pending.key === key)
    const last = all.find((pending) => pending.uploadId === uploadId)?.initiated.getTime() ?? NaN
    const isLost = ({ uploadId: id, initiated }: PendingUpload) =>
      id !== uploadId && Math.abs(last - initiated.getTime()) <= withinMs + timeResolutionMs
    for (const pending of all.filter(isLost)) await abortUpload(connection, pending)
  } catch (error) {
    // They cost space for a while, but nothing is wrong.
    if (!(error instanceof S3Error)) throw error
  }
}

/** All uploads under the prefix, of keys that begin so, that are pending. @throws {S3Error} */
export async function pendingUploads (connection: S3Connection, start = ''): Promise<PendingUpload[]> {
  const { client, bucket, prefix, signal } = connection
  const pending: PendingUpload[] = []
  let markers: { KeyMarker?: string, UploadIdMarker?: string } | undefined = {}
  while (markers !== undefined) {
    const command: ListMultipartUploadsCommand = new ListMultipartUploadsCommand({
      Bucket: bucket, Prefix: prefix + start, EncodingType: 'url', ...markers
    })
    const page = await connection.retry(() => client.send(command, { abortSignal: signal! }))
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

/** Amazon's rule: the MD5 of the parts' MD5s. On servers with another rule the object counts as another one. */
function multipartEtag (etags: string[]): string {
  const joined = Buffer.concat(etags.map((etag) => Buffer.from(etag, 'hex')))
  return `${createHash('md5').update(joined).digest('hex')}-${etags.length}`
}
