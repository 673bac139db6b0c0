// `npm test`: runs tap, then says why the run failed, if it did, and what was skipped and how to have it run.
// With arguments (`npm test -- test/config.test.ts`) they go to tap, and coverage is neither measured nor judged.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Coverage, type Run, verdict } from './verdict.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const countsFile = join(root, '.tap', 'counts.json')
const coverageFile = join(root, '.tap', 'report', 'coverage-summary.json')
const args = process.argv.slice(2)
const whole = args.length === 0

for (const file of [countsFile, coverageFile]) rmSync(file, { force: true })
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => tap.kill(signal))
const tap = spawn(join(root, 'node_modules', '.bin', 'tap'), whole ? [] : ['--disable-coverage', '--allow-empty-coverage', ...args],
  { stdio: 'inherit' })
const [code, signal] = await once(tap, 'exit') as [number | null, NodeJS.Signals | null]

const counts = read<Pick<Run, 'failed' | 'skipped'>>(countsFile)
const measured = read<{ total: Record<keyof Coverage, { pct: number }> }>(coverageFile)?.total
const percent = (name: keyof Coverage) => measured![name].pct
const { reasons, lines } = verdict({
  status: signal ?? code!,
  failed: counts?.failed ?? 0,
  skipped: counts?.skipped ?? [],
  coverage: measured === undefined
    ? null
    : {
        statements: percent('statements'),
        branches: percent('branches'),
        functions: percent('functions'),
        lines: percent('lines')
      },
  whole,
  ci: !['', '0', 'false'].includes(process.env.CI ?? '')
})
for (const reason of reasons) console.log(`FAILED: ${reason}`)
for (const line of lines) console.log(line)
process.exitCode = reasons.length > 0 ? 1 : 0

function read<T> (file: string): T | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return null
  }
}
