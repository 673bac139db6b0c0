import t from 'tap'
import { type Run, verdict } from '../scripts/verdict.js'

const full = { statements: 95, branches: 93.21, functions: 96, lines: 95 }
const byChoice = [
  { title: 'live', reason: 'Modal credentials are not configured: set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET' },
  { title: 'scale', reason: 'it takes minutes: SYNC_FILES=100000 runs it' }
]
const missing = [
  { title: 'page', reason: 'Chromium is not installed' },
  { title: 'sync', reason: 'Ceph is not installed, or not whole: radosgw missing' },
  { title: 'engine', reason: 'Ceph is not installed, or not whole: radosgw missing' }
]
const run = (changes: Partial<Run> = {}): Run =>
  ({ status: 0, failed: 0, skipped: byChoice, coverage: full, whole: true, ci: false, ...changes })

t.test('Coverage below 90 % fails the run, and says of what and by how much (8.9)', async (t) => {
  t.strictSame(verdict(run()).reasons, [])
  for (const measure of ['statements', 'branches', 'functions', 'lines'] as const) {
    t.strictSame(verdict(run({ coverage: { ...full, [measure]: 90 } })).reasons, [])
    t.match(verdict(run({ coverage: { ...full, [measure]: 89.99 } })).reasons,
      [new RegExp(`coverage of ${measure} is 89.99 %, 0.01 below 90 %`)])
  }
  t.equal(verdict(run({ coverage: { statements: 1, branches: 2, functions: 3, lines: 4 } })).reasons.length, 4)
  t.match(verdict(run({ coverage: null })).reasons, [/no coverage was measured/])
})

t.test('A test that is left out by choice does not switch off the gate (8.9)', async (t) => {
  t.match(verdict(run({ coverage: { ...full, lines: 50 } })).reasons, [/coverage of lines/])
  t.match(verdict(run()).lines.at(-1), 'skipped: 2 tests by choice')
})

t.test('On a machine that lacks programs coverage is not judged, and the last line says what to do (8.9)', async (t) => {
  const { reasons, lines } = verdict(run({ skipped: [...byChoice, ...missing], coverage: { ...full, lines: 50 } }))
  t.strictSame(reasons, [])
  t.match(lines.at(-2), /lines 50 %, not judged/)
  t.equal(lines.at(-1), 'skipped: 3 tests for want of Chromium, Ceph (on Debian `bash .ci/install` ' +
    'installs them); 2 tests by choice')
})

t.test('Whatever else keeps tests from running switches the gate off, too, and is told', async (t) => {
  const skipped = [{ title: 'user', reason: 'only root may become another user' }]
  const { reasons, lines } = verdict(run({ skipped, coverage: { ...full, lines: 50 } }))
  t.strictSame(reasons, [])
  t.equal(lines.at(-1), 'skipped: 1 test because only root may become another user')
})

t.test('In CI the gate stays on, and no program may be missing (8.9)', async (t) => {
  const { reasons } = verdict(run({ ci: true, skipped: missing, coverage: { ...full, lines: 50 } }))
  t.match(reasons, [/CI lacks Chromium, Ceph/, /coverage of lines/])
  t.strictSame(verdict(run({ ci: true })).reasons, [])
})

t.test('A part of the tests is not judged by its coverage', async (t) => {
  t.strictSame(verdict(run({ whole: false, coverage: null })), {
    reasons: [], lines: ['skipped: 2 tests by choice']
  })
})

t.test('A failure is always explained', async (t) => {
  t.match(verdict(run({ status: 1, failed: 2 })).reasons, ['2 tests failed'])
  t.match(verdict(run({ status: 1, failed: 1 })).reasons, ['1 test failed'])
  t.match(verdict(run({ status: 7 })).reasons, ['tap ended with 7, though no test failed'])
  t.match(verdict(run({ status: 'SIGKILL' })).reasons, ['tap ended with SIGKILL, though no test failed'])
})
