export interface S3Target {
  bucket: string
  region: string
  /** Without one: Amazon's own. */
  endpoint?: string | undefined
  forcePathStyle: boolean
  /** Silence of a connection that counts as a fault. */
  idleMs?: number | undefined
}

/** Every byte that is not plain is escaped, the way the signature wants it; the slashes of a key stay. */
export function escapeKey (key: string): string {
  return escapeText(key).replaceAll('%2F', '/')
}

function escapeText (text: string): string {
  return encodeURIComponent(text)
    .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
}

export function searchOf (query: Record<string, string>): string {
  return Object.entries(query).map(([name, value]) => `${name}=${escapeText(value)}`).join('&')
}

/** Where a bucket is: its host, or its place in the path. */
export function addressOf ({ bucket, region, endpoint, forcePathStyle }: S3Target): { url: URL, inPath: boolean } {
  // A bucket name with a dot does not fit the certificate of a virtual host.
  const inPath = forcePathStyle || bucket.includes('.')
  const domain = region.startsWith('cn-') ? 'amazonaws.com.cn' : 'amazonaws.com'
  const url = new URL(endpoint ?? `https://s3.${region}.${domain}`)
  if (!inPath) url.hostname = `${bucket}.${url.hostname}`
  return { url, inPath }
}
