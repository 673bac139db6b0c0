import type { SandboxRecord } from './tags.js'

const minute = 60_000

/**
 * When a sandbox' end must be told, and when nothing new may be begun in it: five minutes and one minute before Modal
 * ends it, or the last tenth and fiftieth of a short life. In milliseconds since 1970.
 */
export function expiryOf ({ createdAt, expiresAt }: Pick<SandboxRecord, 'createdAt' | 'expiresAt'>) {
  const endsAt = Date.parse(expiresAt)
  const lifetime = endsAt - Date.parse(createdAt)
  return {
    warnAt: endsAt - Math.min(5 * minute, lifetime / 10),
    closedAt: endsAt - Math.min(minute, lifetime / 50),
    endsAt
  }
}
