/**
 * What a sandbox is, kept in its Modal tags: any replica can tell whose it is and how it was made. The service's own
 * tags and the user's have different prefixes, so a user's tag can never claim an owner. services/modal/run-tags.ts
 * sets more of the service's beside these: which run is the latest, and whether it is over.
 */
export interface SandboxRecord {
  /** The account's app name; proves ownership. */
  owner: string
  /** The deployment of this service that created it, and cleans up after it. */
  deployment: string
  /** ISO 8601, by the clock of the service that created it. */
  createdAt: string
  /** When Modal ends it at the latest; ISO 8601. */
  expiresAt: string
  /** Modal also ends it after this long without activity. Only kept where a workspace is to be stored. */
  idleTimeoutMs?: string
  image: string
  workdir: string
  /** The account's own name of the volume, not Modal's. */
  volume?: string
  mountPath?: string
  /** How the volume is mounted, where that is not the usual way. */
  mount?: MountOptions
  /** Stands for the bucket and prefix of `s3`: sandboxes that have the same are found by it. */
  place?: string
  name?: string
  s3?: StorageRecord
  /** Unique per create request: after a lost answer it tells our own sandbox from another one of the same name. */
  request: string
  /** Until when it may not be ready yet, ISO 8601. Removed when it is. */
  preparing?: string
  /** Nothing in it reaches any network. */
  network?: 'blocked'
  /** Modal puts the model key into requests to this domain. */
  modelDomain?: string
  /** Digests of the Idempotency-Key and, salted with it, of the request. */
  key?: string
  fingerprint?: string
  tags: Record<string, string>
}

export interface MountOptions {
  readOnly?: boolean
  /** The only directory of the volume that is mounted. */
  subPath?: string
  /** No other sandbox may have the same files mounted. */
  exclusive?: boolean
}

/** Where a sandbox's workspace is kept. Names only, checked against the account when the sandbox was created. */
export interface StorageRecord {
  bucket: string
  /** Ends in `/`, or is empty for the whole bucket. */
  prefix: string
  /** The Modal secret with the credentials; the service's own are used without one. */
  secretName?: string
  region?: string
  endpointUrl?: string
  mountPath?: string
  /** With which Modal mounts the bucket, in place of the secret. */
  roleArn?: string
  readOnly: boolean
  initialize: boolean
  syncOnTerminate: boolean
  syncAfterRun: boolean
  versioned: boolean
  /** Missing in records of earlier versions. */
  delete?: boolean
}

const own = 'ms-'
const users = 'u-'
/** The limits of Modal's tags are not documented: values stay as short and plain as a Kubernetes label. */
const longest = 63

const fields = ['owner', 'deployment', 'createdAt', 'expiresAt', 'image', 'workdir', 'volume', 'mountPath', 'name',
  'request', 'preparing', 'key', 'fingerprint', 'idleTimeoutMs', 'modelDomain', 'place', 'network'] as const
/** Kept as JSON. */
const objects = ['s3', 'mount'] as const

/** Modal tags of a record. */
export function encodeTags (record: Partial<SandboxRecord>): Record<string, string> {
  const tags: Record<string, string> = {}
  for (const field of fields) {
    if (record[field] !== undefined) put(tags, own + field, record[field])
  }
  for (const field of objects) {
    if (record[field] !== undefined) put(tags, own + field, JSON.stringify(record[field]))
  }
  for (const [key, value] of Object.entries(record.tags ?? {})) put(tags, users + key, value)
  return tags
}

/** The record in a sandbox's tags; undefined when this service did not create it. */
export function decodeTags (tags: Record<string, string>): SandboxRecord | undefined {
  const record: Record<string, unknown> = { tags: {} }
  for (const field of fields) {
    const value = take(tags, own + field)
    if (value !== undefined) record[field] = value
  }
  const required = ['owner', 'deployment', 'createdAt', 'expiresAt', 'image', 'workdir', 'request'] as const
  if (required.some((field) => record[field] === undefined)) return
  for (const field of objects) {
    const value = take(tags, own + field)
    if (value !== undefined) record[field] = JSON.parse(value)
  }
  const keys = Object.keys(tags).filter((key) => key.startsWith(users) && !key.includes('.'))
  record.tags = Object.fromEntries(keys.map((key) => [key.slice(users.length), take(tags, key)]))
  return record as unknown as SandboxRecord
}

function put (tags: Record<string, string>, key: string, value: string) {
  const text = escape(value)
  for (let part = 0; part === 0 || part * longest < text.length; part++) {
    tags[part === 0 ? key : `${key}.${part}`] = text.slice(part * longest, (part + 1) * longest)
  }
}

function take (tags: Record<string, string>, key: string): string | undefined {
  let text = tags[key]
  if (text === undefined) return
  for (let part = 1; tags[`${key}.${part}`] !== undefined; part++) text += tags[`${key}.${part}`]
  return unescape(text)
}

/** Letters, digits, dot and dash stay; any other byte is `_` and two hex digits; empty is a lone `_`. */
function escape (value: string): string {
  if (value === '') return '_'
  return Array.from(Buffer.from(value), (byte) => {
    const character = String.fromCharCode(byte)
    return /[A-Za-z0-9.-]/.test(character) ? character : `_${byte.toString(16).padStart(2, '0')}`
  }).join('')
}

function unescape (text: string): string {
  if (text === '_') return ''
  const bytes = text.replace(/_([0-9a-f]{2})/g, (_match, hex: string) => String.fromCharCode(parseInt(hex, 16)))
  return Buffer.from(bytes, 'latin1').toString('utf8')
}
