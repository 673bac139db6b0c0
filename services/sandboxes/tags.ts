import { deflateRawSync, inflateRawSync } from 'node:zlib'
import type { Tags } from '../modal/wire-tags.js'

/**
 * What a sandbox is, kept in its Modal tags: any replica can tell whose it is and how it was made. A user's tags are in
 * the record, so none of them can claim an owner. services/modal/run-tags.ts sets more of the service's beside these:
 * which run is the latest, whether it is over, and whether conversations were changed otherwise.
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
  /** What was asked of Modal. Missing in records of earlier versions. */
  resources?: { cpu: number, memoryMiB: number, gpu?: string }
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

/** Modal finds sandboxes by these, so each of them is a tag of its own. */
const searched = ['deployment', 'key', 'volume', 'place'] as const
type Searched = Pick<SandboxRecord, typeof searched[number]>

const searchedPrefix = 'ms-'
/** All else in two pieces: neither how many tags Modal takes is documented nor how long they may be. */
const recordTags = ['ms-record', 'ms-record.1'] as const
/** More than the longest record that a request can make. */
const maxRecordBytes = 256 * 1024

/** Modal tags of a record: at most six, whatever a request asks for; services/modal/run-tags.ts adds two. */
export function encodeTags (record: SandboxRecord): Tags {
  const rest = Object.entries(record).filter(([field]) => !isSearched(field))
  const text = deflateRawSync(JSON.stringify(Object.fromEntries(rest))).toString('base64url')
  const middle = Math.ceil(text.length / 2)
  return { ...searchTags(record), [recordTags[0]]: text.slice(0, middle), [recordTags[1]]: text.slice(middle) }
}

/** The tags by which Modal finds sandboxes of such records. */
export function searchTags (record: Partial<Searched>): Tags {
  const found = searched.filter((field) => record[field] !== undefined)
  return Object.fromEntries(found.map((field) => [searchedPrefix + field, record[field]!]))
}

/** The record in a sandbox's tags; undefined when this service did not create it. */
export function decodeTags (tags: Tags): SandboxRecord | undefined {
  const text = recordTags.map((name) => tags[name] ?? '').join('')
  if (text === '') return
  try {
    const bytes = inflateRawSync(Buffer.from(text, 'base64url'), { maxOutputLength: maxRecordBytes })
    const rest = JSON.parse(bytes.toString()) as SandboxRecord
    const found = searched.filter((field) => tags[searchedPrefix + field] !== undefined)
    return { ...rest, ...Object.fromEntries(found.map((field) => [field, tags[searchedPrefix + field]])) }
  } catch {
    return undefined
  }
}

function isSearched (field: string): field is keyof Searched {
  return (searched as readonly string[]).includes(field)
}
