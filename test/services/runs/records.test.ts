import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { readRecord, writeRecord, type RunRecord } from '../../../services/runs/records.js'
import { library, scriptsOf } from '../../../services/runs/run-directory.js'
import { asked, ended, run, started } from '../../helpers/run-log.js'

const folder = new URL('../../../services/runs/', import.meta.url)
const text = (name: string) => readFileSync(new URL(name, folder), 'utf8')
const words = (name: string, pattern: RegExp) =>
  [...new Set([...text(name).matchAll(pattern)].map(([, word]) => word!))]

t.test('Every record that a script can write is one that is read, whatever its words', async (t) => {
  const { sh, state } = stage(t)

  const reasons = words('scripts/runner.sh', /\bstop ([a-z]+)$/gm)
  t.strictSame(reasons.toSorted(), ['cancelled', 'result', 'timeout'], 'why the runner or the service stops a run')
  for (const reason of reasons) {
    sh('rm -f "$0/stop"; : > "$0/exit"; stop_run "$1" "$0" "$0/log" run_nobody', reason)
    const stop = existsSync(join(state, 'stop')) ? readFileSync(join(state, 'stop'), 'utf8').trim() : ''
    t.match(recordOf(sh('ended "$1" 0 "$2" "\\"durationMs\\":7"', run, stop)), { ...ended, stop: reason === 'result' ? '' : reason, durationMs: 7 })
  }
  for (const code of ['', '0', '143', 'x', '-1', '99999', '"']) {
    t.match(recordOf(sh('ended "$1" "$2" "$3" "\\"durationMs\\":7"', run, code, 'x"y')), { stop: '' }, `exit code ${code}`)
  }

  const deciders = [...words('scripts/runner.sh', /answer-permission\.sh.* (deny \w+) <</g), ...words('permissions.ts', /decision, '(\w+)'/g).flatMap((by) => [`allow ${by}`, `deny ${by}`])]
  t.strictSame(deciders, ['deny deadline', 'allow user', 'deny user'])
  for (const [index, decider] of deciders.entries()) {
    const [decision, by] = decider.split(' ')
    mkdirSync(join(state, 'permissions', `a-${index}`), { recursive: true })
    writeFileSync(join(state, 'permissions', `a-${index}`, 'deadline'), '1')
    // A file in the place of each pipe keeps what is written into it.
    sh('echo {} | sh "$0/answer-permission.sh" "$0" "$1" "$2" "$3" "$4"; wait; until [ -s "$0/output" ]; do :; done', run, `a-${index}`, decision!, by!)
    t.match(recordOf(readFileSync(join(state, 'output'), 'utf8')), { record: 'resolved', run, id: `a-${index}`, decision, by })
    writeFileSync(join(state, 'output'), '')
  }
  const closers = [...words('scripts/runner.sh', /close_permissions "\S+" "\S+" (\w+)/g), ...words('scripts/lib.sh', /close_permissions "\S+" "\S+" (\w+)/g),
    ...words('scripts/permission-filter.awk', /run "' (\w+) " id/g)]
  t.strictSame(closers, ['run_end', 'run_end', 'claude'])
  for (const [index, by] of closers.entries()) {
    mkdirSync(join(state, 'permissions', `c-${index}`), { recursive: true })
    writeFileSync(join(state, 'permissions', `c-${index}`, 'deadline'), '1')
    t.match(recordOf(sh('sh "$0/close-permissions.sh" "$0" "$1" "$2" "$3"', run, by, `c-${index}`)), { record: 'resolved', id: `c-${index}`, decision: 'deny', by })
  }

  const request = { ...asked.request, type: 'control_request' }
  const recorded = sh(`printf '%s' '${JSON.stringify(request)}' | sh "$0/record-request.sh" "$0" "$1" r-1 5000`, run)
  t.match(recordOf(recorded), { record: 'asked', run, timeoutMs: 5000, request })

  for (const lost of ['runner', 'sandbox']) {
    const log = join(state, 'runs', run, 'log')
    mkdirSync(join(state, 'runs', run), { recursive: true })
    writeFileSync(log, '')
    sh(text('scripts/settle-run.sh'), join(state, 'nowhere'), join(state, 'runs'), run, lost === 'runner' ? 'ended' : lost)
    t.match(recordOf(readFileSync(log, 'utf8')), { record: 'ended', exitCode: null, stop: '', lost })
    sh('rm -r "$1"', join(state, 'runs'))
  }
  t.strictSame(recordOf(writeRecord(started)), started)
})

t.test('Each record is composed in one place', async (t) => {
  const scripts = Object.entries({ ...scriptsOf({ ...started, asks: true }), 'prepare.sh': text('scripts/prepare.sh'), 'settle-run.sh': text('scripts/settle-run.sh'), 'end-run.sh': text('scripts/end-run.sh') })
  for (const kind of ['asked', 'resolved', 'ended', 'cut']) {
    const places = scripts.filter(([, script]) => script.includes(`"record":"${kind}"`)).map(([name]) => name)
    t.strictSame(places, ['lib.sh'], kind)
  }
})

t.test('Records of earlier versions are read', async (t) => {
  const { timeoutMs: patience, ...rest } = asked
  t.strictSame(readRecord(JSON.stringify({ ...rest, patience })), asked)
  t.strictSame(readRecord(JSON.stringify({ ...ended, stop: 'hung' })), ended)
})

/** The state directory of a run, and scripts that run behind lib.sh with it as $0. */
function stage (t: Test) {
  const state = t.testdir({ permissions: {}, answers: '', output: '' })
  const scripts = Object.entries(scriptsOf({ ...started, asks: true }))
  for (const [name, script] of scripts) writeFileSync(join(state, name), script)
  const sh = (script: string, ...args: string[]) =>
    execFileSync('sh', ['-c', `${library}\n${script}`, state, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], timeout: 60_000 })
  return { state, sh }
}

function recordOf (line: string): RunRecord | undefined {
  return line.startsWith('\x1e') ? readRecord(line.slice(1).split('\n')[0]!) : undefined
}
