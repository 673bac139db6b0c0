import { CopyObjectCommand, GetObjectCommand } from '@aws-sdk/client-s3'
import type { Readable } from 'node:stream'
import type { S3Connection } from './connection.js'
import { S3Error } from './errors.js'
import { bareEtag } from './http.js'

/** What CopyObject takes; S3 copies larger objects in parts only. */
export const maxCopyBytes = 5 * 1024 ** 3

/**
 * Adds user metadata to an object and leaves its content, its headers and its other metadata alone.
 * @param etag of the object that is meant; another one is an error. @returns the new ETag. @throws {S3Error}
 */
export async function addMetadata (
  connection: S3Connection, key: string, etag: string, added: Record<string, string>
): Promise<string> {
  const { client, bucket, prefix, signal } = connection
  const target = { Bucket: bucket, Key: prefix + key }
  const abortSignal = signal!
  return await connection.retry(async () => {
    // The refusal of a HEAD would not say why.
    const { Body, ...head } = await client.send(new GetObjectCommand({ ...target, IfMatch: `"${etag}"` }), { abortSignal })
    ;(Body as Readable).destroy()
    const { ContentType, CacheControl, ContentDisposition, ContentEncoding, ContentLanguage } = head
    const expires = head.ExpiresString === undefined ? NaN : Date.parse(head.ExpiresString)
    const { CopyObjectResult } = await client.send(new CopyObjectCommand({
      ...target,
      CopySource: `${bucket}/${encodeURIComponent(target.Key)}`,
      CopySourceIfMatch: `"${etag}"`,
      MetadataDirective: 'REPLACE',
      Metadata: { ...head.Metadata, ...added },
      ContentType,
      CacheControl,
      ContentDisposition,
      ContentEncoding,
      ContentLanguage,
      Expires: Number.isNaN(expires) ? undefined : new Date(expires),
      StorageClass: head.StorageClass,
      WebsiteRedirectLocation: head.WebsiteRedirectLocation
    }), { abortSignal })
    const copied = bareEtag(CopyObjectResult?.ETag)
    if (copied === '') throw new S3Error('IncompleteBody')
    return copied
  })
}
