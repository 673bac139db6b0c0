import { isIP } from 'node:net'
import { posix } from 'node:path'
import { AppError } from '../../errors.js'
import { matches } from '../../lib/pattern.js'
import type { Account, AccountStorage } from '../../schemas/account.js'
import type { Storage } from '../../schemas/sandbox.js'
import { slug } from '../modal/names.js'
import type { StorageRecord } from './tags.js'

/**
 * Where a sandbox's workspace will be kept. What the request leaves open is filled in from the account.
 * @throws {AppError} BAD_REQUEST for a prefix that is not a plain path, FORBIDDEN for a place the account may not use.
 */
export function planStorage (account: Account, spec: Storage): StorageRecord {
  const { bucket, secretName, region, endpointUrl, mountPath, keyPrefix, ...flags } = spec
  const wanted = keyPrefix === undefined ? undefined : cleanPrefix(keyPrefix)
  const place = account.s3?.find((place) => allows(account, place, { bucket, prefix: wanted, secretName, endpointUrl }))
  if (place === undefined) {
    throw new AppError('FORBIDDEN', { message: 'Your account may not use this S3 bucket, prefix, secret or endpoint.' })
  }
  const record: StorageRecord = {
    ...flags,
    bucket,
    prefix: wanted ?? prefixOf(account, place),
    ...given('secretName', secretName ?? place.secretName),
    ...given('region', region ?? place.region),
    ...given('endpointUrl', endpointUrl?.replace(/\/$/, '') ?? place.endpointUrl),
    ...(mountPath !== undefined && { mountPath: posix.resolve('/', mountPath), ...given('roleArn', place.roleArn) })
  }
  if (mountPath !== undefined) checkMount(record)
  return record
}

/** @throws {AppError} BAD_REQUEST for what Modal cannot mount. */
function checkMount ({ secretName, roleArn, endpointUrl }: StorageRecord) {
  if (secretName === undefined && roleArn === undefined) {
    throw new AppError('BAD_REQUEST', { message: 'body.s3.mountPath needs body.s3.secretName: Modal mounts with a secret' })
  }
  const { hostname } = new URL(endpointUrl ?? 'https://s3.amazonaws.com')
  // Modal's SDK cannot ask for path-style addresses, and a bucket cannot be a part of these hosts' names.
  if (isIP(hostname.replace(/^\[|\]$/g, '')) !== 0 || !hostname.includes('.')) {
    throw new AppError('BAD_REQUEST', {
      message: `body.s3.mountPath: Modal mounts buckets by host name, and there is none of a bucket at ${hostname}. ` +
        'Leave it out; the workspace is synced without a mount'
    })
  }
}

/** @throws {AppError} FORBIDDEN when the account may no longer use the sandbox's bucket or prefix. */
export function checkStorage (account: Account, record: StorageRecord): void {
  if (account.s3?.some((place) => allows(account, place, record))) return
  throw new AppError('FORBIDDEN', { message: 'Your account may no longer use the S3 bucket of this sandbox.' })
}

interface Wanted {
  bucket: string
  prefix: string | undefined
  secretName?: string | undefined
  endpointUrl?: string | undefined
}

/** What the request leaves open is taken from the place, so there it must be a value, not a pattern. */
function allows (account: Account, place: AccountStorage, wanted: Wanted): boolean {
  const { bucket, prefix, secretName, endpointUrl } = wanted
  return matches(place.bucket, bucket) && (prefix ?? prefixOf(account, place)).startsWith(prefixOf(account, place)) &&
    mayBe(place.secretName, secretName) && mayBe(place.endpointUrl, endpointUrl?.replace(/\/$/, ''))
}

function mayBe (allowed: string | undefined, wanted: string | undefined): boolean {
  if (wanted === undefined) return allowed?.includes('*') !== true
  return allowed !== undefined && matches(allowed, wanted)
}

function prefixOf ({ id }: Account, { keyPrefix = '' }: AccountStorage): string {
  const prefix = keyPrefix.replaceAll('{account}', slug(id))
  return prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`
}

/** Ends in `/`. @throws {AppError} BAD_REQUEST for a spelling that could stand for another prefix. */
function cleanPrefix (prefix: string): string {
  const names = prefix.replace(/\/$/, '').split('/')
  if (prefix !== '' && names.some((name) => name === '' || name === '.' || name === '..')) {
    throw new AppError('BAD_REQUEST', { message: 'body.s3.keyPrefix must be a path without empty, . and .. parts' })
  }
  if (names.includes('.modal-sandbox')) {
    throw new AppError('BAD_REQUEST', { message: 'body.s3.keyPrefix has a reserved part: .modal-sandbox' })
  }
  return prefix === '' ? '' : `${names.join('/')}/`
}

function given<K extends string> (name: K, value: string | undefined): { [key in K]?: string } {
  return value === undefined ? {} : { [name]: value } as { [key in K]: string }
}
