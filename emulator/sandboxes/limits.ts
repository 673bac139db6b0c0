import type { Limits } from '../container/types.js'
import type { SandboxDefinition } from '../proto/messages.js'

const mebibyte = 1024 * 1024

/** The limits that a definition sets, and a warning for each that does not hold here. */
export async function limitsOf (
  { resources }: SandboxDefinition, enforces: (limit: 'memory' | 'cpu') => Promise<boolean>
): Promise<{ limits: Limits, warnings: string[] }> {
  const { memoryMbMax = 0, milliCpuMax = 0 } = resources ?? {}
  const limits: Limits = {}
  const warnings: string[] = []
  const without = (what: string) => {
    warnings.push(`The local emulator may not make control groups on this machine: the limit of ${what} has no effect`)
  }
  if (memoryMbMax > 0) {
    limits.memoryBytes = memoryMbMax * mebibyte
    if (!await enforces('memory')) without(`${memoryMbMax} MiB of memory`)
  }
  if (milliCpuMax > 0) {
    limits.cpus = milliCpuMax / 1000
    if (!await enforces('cpu')) without(`${milliCpuMax / 1000} CPUs`)
  }
  return { limits, warnings }
}
