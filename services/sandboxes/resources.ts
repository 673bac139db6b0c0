import type { SandboxCreateParams } from 'modal'
import { AppError } from '../../errors.js'
import { matches } from '../../lib/pattern.js'
import type { Account } from '../../schemas/account.js'
import type { SandboxSpec } from '../../schemas/sandbox.js'

export interface Timeouts { timeoutMs: number, idleTimeoutMs: number }

type Resources = Required<Pick<
  SandboxCreateParams, 'cpu' | 'cpuLimit' | 'memoryMiB' | 'memoryLimitMiB' | 'timeoutMs' | 'idleTimeoutMs'
>> & Pick<SandboxCreateParams, 'gpu'>

/** Modal's own defaults (0.125 cores, 128 MiB) are too small for the Claude CLI. */
const usual = { cpu: 1, memoryMiB: 2048 }
/**
 * A sandbox may use up to this many times what it asked for, and never more than its account may ask for. Modal bills
 * the larger of request and use; without limits of ours it allows many more cores, and all the memory of its machine.
 */
const burst = 2

/**
 * What a sandbox costs by the second, and for how long. Defaults adapt to the account's limits.
 * @throws {AppError} FORBIDDEN naming the limit that the request exceeds.
 */
export function planResources ({ limits }: Account, spec: SandboxSpec, defaults: Timeouts): Resources {
  const wanted = (limit: 'cpu' | 'memoryMiB' | 'timeoutMs' | 'idleTimeoutMs', fallback: number): number => {
    const asked = spec[limit]
    if (asked !== undefined && asked > limits[limit]) throw beyondLimit(limit, asked, limits[limit])
    return asked ?? Math.min(fallback, limits[limit])
  }
  if (spec.gpu !== undefined && !limits.gpus.some((allowed) => includesGpu(allowed, spec.gpu!))) {
    throw beyondLimit('gpus', spec.gpu, limits.gpus)
  }
  const cpu = wanted('cpu', usual.cpu)
  const memoryMiB = wanted('memoryMiB', usual.memoryMiB)
  return {
    timeoutMs: wanted('timeoutMs', defaults.timeoutMs),
    idleTimeoutMs: wanted('idleTimeoutMs', defaults.idleTimeoutMs),
    cpu,
    cpuLimit: Math.min(burst * cpu, limits.cpu),
    memoryMiB,
    memoryLimitMiB: Math.min(burst * memoryMiB, limits.memoryMiB),
    ...(spec.gpu !== undefined && { gpu: spec.gpu })
  }
}

/** An error that says which limit of the account was exceeded, by how much. */
export function beyondLimit (limit: string, asked: number | string, allowed: number | string[]): AppError {
  const most = Array.isArray(allowed) ? allowed.join(', ') || 'none' : allowed
  return new AppError('FORBIDDEN', {
    message: `Your account's limit for ${limit} is ${most}; you asked for ${asked}.`, details: { limit, asked, allowed }
  })
}

/** Whether `H100:2`, for example, includes `h100`. `!` only forbids Modal to give a better one at the same price. */
function includesGpu (allowed: string, asked: string): boolean {
  const [most, wanted] = [parseGpu(allowed), parseGpu(asked)]
  return matches(most.type, wanted.type) && wanted.count <= most.count
}

function parseGpu (gpu: string): { type: string, count: number } {
  const [type, count = '1'] = gpu.toUpperCase().replace('!', '').split(':')
  return { type: type!, count: Number(count) }
}
