import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { prepareCommand, startInput, startRefusal } from '../../../services/runs/run-directory.js'
import { runId, userlands, type Userland } from '../../helpers/lock-contest.js'
import { started as record } from '../../helpers/run-log.js'

const [first, second] = ['first', 'second'].map(runId) as [string, string]
const prompt = `it's a "prompt" of more than one block\n${'é'.repeat(70_000)}\n`
/** Stands in the runner's place: says that it is there, and what it still has to read. */
const script = 'echo "became $1 in $(pwd), $(env | grep -c ^ANTHROPIC_API_KEY=) keys, $({ cat <&3; } 2>/dev/null)"; cat'
const runner = ['sh', '-c', script, 'runner', 'a runner']
const shells = await userlands(t.testdir())

for (const userland of shells) {
  t.test(`One command prepares a run and becomes its runner, with ${userland.name}`, async (t) => {
    const stage = open(t, userland)
    const { status, stdout, stderr } = stage.start(first, { beats: 'r0\ns1\n' })
    t.strictSame([status, stdout, stderr], [0, `became a runner in ${stage.workdir}, 0 keys, \nr0\ns1\n`, ''])
    t.equal(readFileSync(join(stage.state, first, 'prompt'), 'utf8'), prompt, 'the prompt is whole, and no more')
    t.match(readFileSync(join(stage.runs, first, 'log'), 'utf8'), /^.\{"record":"started","run":"run_0+first".*\}\n$/)
  })

  t.test(`The model key is on a descriptor, and in no environment, with ${userland.name}`, async (t) => {
    const { stdout } = open(t, userland).start(first, { env: { ANTHROPIC_API_KEY: 'sk-1' } })
    t.match(stdout, /, 0 keys, sk-1\n$/)
  })

  t.test(`Who comes second is refused, and told the other's id on no output, with ${userland.name}`, async (t) => {
    const stage = open(t, userland)
    stage.start(first)
    const { status, stdout, stderr } = stage.start(second)
    t.strictSame([status, stdout], [75, ''])
    t.match(startRefusal(status!, stderr), { code: 'RUN_ACTIVE', details: { runId: first } })
    t.notOk(existsSync(join(stage.state, second)), 'nothing of it is left')
    t.notOk(existsSync(join(stage.runs, second)))
  })

  t.test(`Input that ends too early starts nothing, with ${userland.name}`, async (t) => {
    for (const bytes of [0, 1000, -1]) {
      const stage = open(t, userland)
      const { status, stdout, stderr } = stage.start(first, { bytes })
      t.strictSame([status, stdout], [78, ''], `${bytes}`)
      t.match(startRefusal(status!, stderr), { code: 'CLAUDE_FAILED', step: 'prepare' })
      t.notOk(existsSync(join(stage.state, first)))
    }
  })
}

t.test('A program that the image lacks is named', async (t) => {
  const stage = open(t, { ...shells[0]!, env: { PATH: process.env['PATH']! } })
  const { status, stdout, stderr } = stage.start(first)
  t.strictSame([status, stdout], [76, ''])
  t.match(startRefusal(status!, stderr), { code: 'NO_CLAUDE' })
  t.match(startRefusal(76, 'some noise\n\nscript\n'), { code: 'CLAUDE_FAILED', message: /no `script`/ })
})

t.test('What the runner itself exits with is no refusal', async (t) => {
  for (const code of [0, 1, 130, 137, 255]) t.equal(startRefusal(code, ''), undefined)
  t.match(startRefusal(75, ''), { code: 'RUN_ACTIVE', details: { runId: null } })
  t.match(startRefusal(75, 'run_of-a-stranger\n'), { details: { runId: null } }, 'what is no id is not told')
  t.match(startRefusal(77, ''), { code: 'RUN_NOT_ENDED' })
})

function open (t: Test, { shell, env }: Userland) {
  const directory = mkdtempSync(join(t.testdir(), 'start-'))
  const [state, runs, workdir] = ['state', 'runs', 'workdir'].map((name) => join(directory, name)) as [string, string, string]
  /** @param options.bytes how much of the input arrives; negative ones are missing at its end. */
  const start = (run: string, options: { beats?: string, bytes?: number, env?: Record<string, string> } = {}) => {
    const bytes = Buffer.from(prompt)
    const preparation = prepareCommand({ state, runs, workdir }, { ...record, run }, bytes)
    const { command, input } = startInput(preparation, bytes, workdir, runner)
    const all = Buffer.concat([input.subarray(0, options.bytes ?? input.length), Buffer.from(options.beats ?? '')])
    return spawnSync(shell, command.slice(1), { input: all, env: { ...env, ...options.env }, encoding: 'utf8' })
  }
  return { state, runs, workdir, start }
}
