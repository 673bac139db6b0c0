import { spawn, type SpawnOptions } from 'node:child_process'

/** What a process needs to read TypeScript, for `--import`. */
export const loader = new URL('../typescript.js', import.meta.url).href

/**
 * Environment of a process that runs the project's files through another loader than tap does, also of what it starts:
 * keeps tap from measuring its coverage, because counts of positions that mean different lines would be added up.
 */
export const unmeasured = { _TAPJS_PROCESSINFO_COVERAGE_: '0' }

/** A TypeScript file in a process of its own, without what tap adds to NODE_OPTIONS of every process. */
export function spawnNode (args: string[], options: SpawnOptions) {
  const wanted = options.env?.['NODE_OPTIONS']
  const own = wanted === undefined || wanted === process.env['NODE_OPTIONS'] ? [] : [`NODE_OPTIONS=${wanted}`]
  return spawn('/usr/bin/env', ['-u', 'NODE_OPTIONS', ...own, process.execPath, '--import', loader, ...args], options)
}
