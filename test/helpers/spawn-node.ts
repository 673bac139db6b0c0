import { spawn, type SpawnOptions } from 'node:child_process'

const loader = import.meta.resolve('tsx')

/**
 * A TypeScript file in a process of its own. Its coverage is not measured: its loader compiles a file in another way
 * than that of the tests, and counts of positions that mean different lines would be added up.
 */
export function spawnNode (args: string[], { env = process.env, ...options }: SpawnOptions) {
  return spawn(process.execPath, ['--import', loader, ...args], {
    ...options, env: { ...env, _TAPJS_PROCESSINFO_COVERAGE_: '0' }
  })
}
