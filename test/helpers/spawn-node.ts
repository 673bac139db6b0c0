import { spawn, type SpawnOptions } from 'node:child_process'

/** What a process needs to read TypeScript, for `--import`. */
export const loader = new URL('../typescript.js', import.meta.url).href

/**
 * Environment of a process whose coverage tap is not to measure, nor that of what it starts. It must not where another
 * loader is used, as in `npm run emulator`: counts of positions that mean different lines would be added up.
 */
export const unmeasured = { _TAPJS_PROCESSINFO_COVERAGE_: '0' }

/** A TypeScript file in a process of its own. */
export function spawnNode (args: string[], { env = process.env, ...options }: SpawnOptions) {
  return spawn(process.execPath, ['--import', loader, ...args], {
    ...options, env: { ...env, ...unmeasured }
  })
}
