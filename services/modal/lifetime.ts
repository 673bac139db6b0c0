/** ISO 8601 both. */
interface Lifetime { createdAt: string, expiresAt: string }

const minute = 60_000

/**
 * When a sandbox's workspace has to be stored, its readers are warned of its end, and nothing new may start in it: ten,
 * five and one minutes before Modal ends it; for a short lifetime its last tenth, tenth and fiftieth. In milliseconds
 * since 1970.
 */
export function expiryOf ({ createdAt, expiresAt }: Lifetime) {
  const endsAt = Date.parse(expiresAt)
  const lifetime = endsAt - Date.parse(createdAt)
  return {
    saveAt: endsAt - Math.min(10 * minute, lifetime / 10),
    warnAt: endsAt - Math.min(5 * minute, lifetime / 10),
    closedAt: endsAt - Math.min(minute, lifetime / 50),
    endsAt
  }
}

/**
 * How long after the last activity in a sandbox its workspace has to be stored, as Modal ends it for being idle: half a
 * minute before that, or the last quarter of a short time-out. Undefined when the time-out is not known.
 */
export function idleSaveMs ({ idleTimeoutMs }: { idleTimeoutMs?: string }): number | undefined {
  const idleMs = Number(idleTimeoutMs)
  return Number.isNaN(idleMs) ? undefined : idleMs - Math.min(minute / 2, idleMs / 4)
}
