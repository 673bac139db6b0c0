import { setTimeout as sleep } from 'node:timers/promises'

/**
 * What to do about a failed request: `transient` is retried, `slow` after a longer wait, `credentials` with new ones,
 * `skew` with the server's clock, `fatal` never.
 */
type S3ErrorKind = 'transient' | 'slow' | 'credentials' | 'skew' | 'fatal'

interface ErrorDetails { status?: number | undefined, date?: string | undefined, cause?: unknown }

/** A request that failed. `message` has no secret: it is S3's error code, or that of a broken connection. */
export class S3Error extends Error {
  readonly kind: S3ErrorKind
  readonly code: string
  readonly status: number | undefined
  /** The server's clock, when the response has it. */
  readonly serverTime: number | undefined

  constructor (code: string, { status, date, cause }: ErrorDetails = {}) {
    super(status === undefined ? code : `${code} (${status})`, { cause })
    this.name = 'S3Error'
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
  IncompleteBody: 'transient',
  /** The service's own: a success that does not say what was stored. */
  MissingETag: 'fatal',
  /** The service's own: an object does not have the content that it was stored with, though it was not replaced. */
  ContentMismatch: 'fatal'
}

function kindOf (code: string, status: number | undefined): S3ErrorKind {
  if (Object.hasOwn(kinds, code)) return kinds[code]!
  if (status === undefined) return 'transient'
  if (status === 429 || status === 503) return 'slow'
  return status >= 500 || status === 408 ? 'transient' : 'fatal'
}

interface RetryOptions {
  signal?: AbortSignal | undefined
  /** 9 unless given. */
  attempts?: number
  /** Called before the next attempt, which it may give new credentials or the server's clock. */
  onError (error: S3Error): void
}

const defaultAttempts = 9
const baseMs: Partial<Record<S3ErrorKind, number>> = { transient: 50, slow: 400 }
const maxDelayMs = 10_000

/**
 * Does `work` until it succeeds or another attempt makes no sense. Exponential backoff with full jitter: requests that
 * failed together are not sent again together.
 * @throws {S3Error} the last one. Any other error is thrown at once.
 */
export async function withRetries<T> (
  work: () => Promise<T>, { signal, attempts = defaultAttempts, onError }: RetryOptions
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
      // New credentials or a corrected clock help at once or never. Requests that were under way get a second chance.
      if (base === undefined && renewals.has(error.kind) && attempt > 3) throw error
      renewals.add(error.kind)
      onError(error)
      const delay = Math.random() * Math.min(maxDelayMs, (base ?? 20) * 2 ** attempt)
      await sleep(delay, undefined, { signal: signal! }).catch(() => { signal?.throwIfAborted() })
    }
  }
}
