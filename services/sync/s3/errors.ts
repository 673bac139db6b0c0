import { setTimeout as sleep } from 'node:timers/promises'

/**
 * What to do about a failed request: `transient` is tried again, `slow` means fewer and later, `credentials` once more
 * with fresh ones, `skew` with the server's clock, `fatal` never.
 */
export type S3ErrorKind = 'transient' | 'slow' | 'credentials' | 'skew' | 'fatal'

interface FaultDetails { status?: number | undefined, date?: string | undefined, cause?: unknown }

/** A request that S3 did not carry out. `message` has no secret: it is S3's code, or ours for a broken connection. */
export class S3Error extends Error {
  readonly kind: S3ErrorKind
  readonly code: string
  readonly status: number | undefined
  /** The server's clock, when it told it. */
  readonly serverTime: number | undefined

  constructor (code: string, { status, date, cause }: FaultDetails = {}) {
    super(status === undefined ? code : `${code} (${status})`, { cause })
    this.name = 'S3Fault'
    this.code = code
    this.status = status
    this.kind = kindOf(code, status)
    const time = Date.parse(date ?? '')
    this.serverTime = Number.isNaN(time) ? undefined : time
  }
}

const kinds: Record<string, S3ErrorKind> = {
  SlowDown: 'slow',
  Throttling: 'slow',
  ThrottlingException: 'slow',
  TooManyRequests: 'slow',
  RequestLimitExceeded: 'slow',
  ExpiredToken: 'credentials',
  ExpiredTokenException: 'credentials',
  TokenRefreshRequired: 'credentials',
  InvalidToken: 'credentials',
  InvalidAccessKeyId: 'credentials',
  RequestTimeTooSkewed: 'skew',
  RequestTimeout: 'transient',
  RequestTimeoutException: 'transient',
  InternalError: 'transient',
  OperationAborted: 'transient',
  ServiceUnavailable: 'slow',
  BadDigest: 'transient',
  XAmzContentSHA256Mismatch: 'transient',
  IncompleteBody: 'transient'
}

function kindOf (code: string, status: number | undefined): S3ErrorKind {
  if (Object.hasOwn(kinds, code)) return kinds[code]!
  if (status === undefined) return 'transient'
  if (status === 429 || status === 503) return 'slow'
  return status >= 500 || status === 408 ? 'transient' : 'fatal'
}

export interface RetryOptions {
  signal?: AbortSignal | undefined
  /** At most; 9 otherwise. */
  attempts?: number
  /** Makes the next attempt use new credentials, or the server's clock. */
  onFault (fault: S3Error): void
}

const usualAttempts = 9
const baseMs: Partial<Record<S3ErrorKind, number>> = { transient: 50, slow: 400 }
const longestMs = 10_000

/**
 * Does `work` until it succeeds or trying again makes no sense: exponential backoff with full jitter, so that many
 * requests that failed together don't come back together.
 * @throws {S3Error} the last one; whatever is not a fault at once.
 */
export async function withRetries<T> (
  work: () => Promise<T>, { signal, attempts = usualAttempts, onFault }: RetryOptions
): Promise<T> {
  const renewals = new Set<S3ErrorKind>()
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted()
    try {
      return await work()
    } catch (error) {
      signal?.throwIfAborted()
      if (!(error instanceof S3Error) || error.kind === 'fatal' || attempt >= attempts) throw error
      const base = baseMs[error.kind]
      // New credentials or a corrected clock help at once, or not at all; the second time is for requests under way.
      if (base === undefined && renewals.has(error.kind) && attempt > 3) throw error
      renewals.add(error.kind)
      onFault(error)
      const delay = Math.random() * Math.min(longestMs, (base ?? 20) * 2 ** attempt)
      await sleep(delay, undefined, { signal: signal! }).catch(() => { signal?.throwIfAborted() })
    }
  }
}
