import { AppError } from '../../../errors.js'
import type { StorageRecord } from '../../sandboxes/tags.js'
import type { SecretReader } from './credentials.js'
import type { S3Credentials } from './http.js'
import type { ObjectStore } from './object-store.js'

export interface S3Settings {
  endpointUrl: string | undefined
  region: string
  forcePathStyle: boolean | undefined
  credentials: S3Credentials | undefined
}

export interface StoreSources {
  s3: S3Settings
  secrets: Pick<SecretReader, 'read' | 'forget'>
}

/**
 * The place of a workspace in S3, with the credentials of its secret, or the service's own when it names none.
 * @throws {AppError} S3_REFUSED without any; as the secret reader does.
 */
export async function openStore (
  record: StorageRecord, { s3, secrets }: StoreSources, signal: AbortSignal
): Promise<ObjectStore> {
  const { bucket, prefix, secretName, region, endpointUrl } = record
  const get = async () => {
    const credentials = secretName === undefined ? s3.credentials : await secrets.read(secretName)
    if (credentials === undefined) throw new AppError('S3_REFUSED', { message: 'The service has no S3 credentials.' })
    return credentials
  }
  const { region: ofSecret, endpointUrl: endpointOfSecret } = await get() as { region?: string, endpointUrl?: string }
  const endpoint = endpointUrl ?? endpointOfSecret ?? s3.endpointUrl
  // The AWS SDK takes a while to load: not everybody has S3, and nobody at the start.
  const { ObjectStore } = await import('./object-store.js')
  return new ObjectStore({
    bucket,
    prefix,
    region: region ?? ofSecret ?? s3.region,
    endpoint,
    // S3-compatible servers seldom have a host name for every bucket.
    forcePathStyle: s3.forcePathStyle ?? endpoint !== undefined,
    credentials: { get, renew: () => { if (secretName !== undefined) secrets.forget(secretName) } },
    signal
  })
}
