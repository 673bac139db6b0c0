import { AppError } from '../../../errors.js'
import type { StorageRecord } from '../../sandboxes/tags.js'
import type { SecretReader, SecretValues } from './credentials.js'
import type { S3Credentials } from './http.js'
import type { ObjectStore } from './object-store.js'

interface S3Settings {
  endpointUrl: string | undefined
  region: string
  forcePathStyle: boolean | undefined
  credentials: S3Credentials | undefined
}

export interface StoreSources {
  s3: S3Settings
  /** A URL as sandboxes have to write it; by default the same. */
  urlInSandbox?: (url: string) => string
  secrets: Pick<SecretReader, 'read' | 'forget'>
}

/**
 * Opens the store of a workspace with the credentials of its secret, or the service's own when it names none.
 * @throws {AppError} S3_REFUSED without credentials, and what the secret reader throws.
 */
export async function openStore (
  record: StorageRecord, { s3, secrets, urlInSandbox = (url) => url }: StoreSources, signal: AbortSignal
): Promise<ObjectStore> {
  const { bucket, prefix, secretName, region, endpointUrl } = record
  const get = async () => {
    const credentials = secretName === undefined ? s3.credentials : await secrets.read(secretName)
    if (credentials === undefined) throw new AppError('S3_REFUSED', { message: 'The service has no S3 credentials.' })
    return credentials
  }
  const secret: Partial<SecretValues> = await get()
  const endpoint = endpointUrl ?? secret.endpointUrl ?? s3.endpointUrl
  // The AWS SDK takes a while to load, and not every deployment uses S3.
  const { ObjectStore } = await import('./object-store.js')
  return new ObjectStore({
    bucket,
    prefix,
    region: region ?? secret.region ?? s3.region,
    endpoint,
    presignedEndpoint: endpoint === undefined ? undefined : urlInSandbox(endpoint),
    // S3-compatible servers seldom have a host name for each bucket.
    forcePathStyle: s3.forcePathStyle ?? endpoint !== undefined,
    credentials: { get, renew: () => { if (secretName !== undefined) secrets.forget(secretName) } },
    signal
  })
}
