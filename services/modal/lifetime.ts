import type { SandboxRecord } from '../sandboxes/tags.js'

const minute = 60_000

/**
 * When a sandbox' workspace has to be stored, when its end must be told, and when nothing new may be begun in it: ten,
 * five minutes and one minute before Modal ends it, or the last tenth and fiftieth of a short life. In milliseconds
 * since 1970.
 */
export function expiryOf ({ createdAt, expiresAt }: Pick<SandboxRecord, 'createdAt' | 'expiresAt'>) {
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
 * How long after something happened in a sandbox its workspace has to be stored, before Modal ends it for being idle:
 * half a minute before, or the last quarter of a short time. Undefined when nobody knows the time.
 */
export function idleSaveMs ({ idleTimeoutMs }: Pick<SandboxRecord, 'idleTimeoutMs'>): number | undefined {
  const idleMs = Number(idleTimeoutMs)
  return Number.isNaN(idleMs) ? undefined : idleMs - Math.min(minute / 2, idleMs / 4)
}
