import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { lockScript } from '../../../services/modal/lock.js'
import { execMarker } from '../../../services/modal/process.js'
import { addDeadHolders, attempt, attemptInterrupted, contest, runId, runLock, syncLock, userlands } from '../../helpers/lock-contest.js'

const [dead, heir, taker, next, late] = ['dead', 'heir', 'taker', 'next', 'late'].map(runId) as [string, string, string, string, string]
const holders: [string, string[]][] = [['a dead holder', [dead]], ['a dead holder with a dead successor', [dead, heir]]]
const shells = await userlands(t.testdir())

for (const userland of shells) {
  for (const [user, name] of [[runLock, 'runs'], [syncLock, 'the sync']] as const) {
    t.test(`Of eight at once exactly one gets the lock of ${name}, with ${userland.name}`, async (t) => {
      for (const [scene, ids] of holders) {
        for (let round = 0; round < 12; round++) t.equal(await contest(user, userland, ids.length), 1, `${scene}, round ${round}`)
      }
    })

    t.test(`A taker of the lock of ${name} that is killed at any step leaves it for the next one, with ${userland.name}`, async (t) => {
      t.testdir()
      for (const [scene, ids] of user === runLock ? holders : holders.slice(1)) {
        for (let step = 1; ; step++) {
          const state = folder(t)
          await addDeadHolders(user, state, ids)
          const { killed } = await attemptInterrupted(user, userland, state, taker, { killAt: step })
          if (!killed) {
            t.ok(step > 5, `${scene}: ${step - 1} steps`)
            break
          }
          t.equal(attempt(user, userland, state, next).status, 0, `${scene}, killed at step ${step}: the next one wins`)
          const refused = attempt(user, userland, state, late)
          t.equal(refused.status, 75, 'and is alone')
          if (user === runLock) t.equal(refused.stdout, next, 'and named to others')
        }
      }
    })
  }

  t.test(`A holder that comes back to life while another takes over: never are both at work, with ${userland.name}`, async (t) => {
    t.testdir()
    const alive = startRunner(t, dead)
    for (const kill of [false, true]) {
      for (let step = 1, steps = 1; step <= steps; step++) {
        const state = folder(t)
        await addDeadHolders(runLock, state, [dead])
        // As its runner does: it says that it is alive, then looks whether the lock is still its own.
        const script = `${lockScript}\necho ${alive.pid} > '${state}/${dead}/pid'
          last_holder '${state}/run-lock'; [ "$holder" != ${dead} ] || : > '${state}/works'`
        const taken = await attemptInterrupted(runLock, userland, state, taker, {
          hook: { step, script }, ...kill && { killAt: step + 1 }
        })
        steps = Math.max(steps, kill && taken.killed ? step + 1 : taken.steps)
        const works = existsSync(join(state, 'works'))
        t.notOk(works && taken.status === 0, `at step ${step}`)
        const later = attempt(runLock, userland, state, next).status
        if (works) t.equal(later, 75, 'nor may a later one take it from the one at work')
      }
    }
  })
}

t.test('What an ended run leaves is free, without a step of its own', async (t) => {
  const [userland] = shells
  const state = t.testdir()
  t.equal(attempt(runLock, userland!, state, taker).status, 0)
  t.strictSame(attempt(runLock, userland!, state, next), { status: 75, stdout: taker })
  t.notOk(existsSync(join(state, next)), 'a refused one leaves nothing')
  t.notOk(existsSync(join(state, 'runs', next)))
  t.equal(run(state, taker, 'echo said').status, 0)
  t.match(readFileSync(join(state, 'runs', taker, 'log'), 'utf8'), /said[^]*"record":"ended","run":"run_0+taker","exitCode":0,"stop":"","at":\d+,"durationMs":\d+\}\n$/)
  t.equal(attempt(runLock, userland!, state, next).status, 0)
})

t.test('A run whose preparation took so long that another one has the lock never starts', async (t) => {
  const [userland] = shells
  const state = t.testdir()
  attempt(runLock, userland!, state, taker)
  age(join(state, taker))
  t.equal(attempt(runLock, userland!, state, next).status, 0)
  const { status, stdout } = run(state, taker, `touch ${state}/started`)
  t.strictSame([status, stdout], [75, ''])
  for (const path of ['started', taker, join('runs', taker)]) t.notOk(existsSync(join(state, path)), path)
  t.equal(run(state, next, `touch ${state}/started`).status, 0)
  t.ok(existsSync(join(state, 'started')))
})

t.test('A runner that was killed leaves no Claude beside the next one', async (t) => {
  const [userland] = shells
  const state = t.testdir()
  attempt(runLock, userland!, state, taker)
  writeFileSync(join(state, taker, 'pid'), '999999999')
  const left = spawn('sleep', ['600'], { env: { ...process.env, [execMarker]: taker }, stdio: 'ignore' })
  const gone = new Promise((resolve) => left.once('exit', (_code, signal) => resolve(signal)))
  t.equal(attempt(runLock, userland!, state, next).status, 0)
  t.equal(await gone, 'SIGTERM')
})

/** One for each attempt: what a killed one has started may still write into it for a moment. */
function folder (t: Test): string {
  return mkdtempSync(join(t.testdirName, 'state-'))
}

function age (path: string) {
  const then = new Date(Date.now() - 120_000)
  utimesSync(path, then, then)
}

/** A process that could be the runner of a run: it has the id in its command line. */
function startRunner (t: Test, id: string): ChildProcess {
  const child = spawn('sh', ['-c', 'sleep 600; :', id], { stdio: 'ignore', detached: true })
  t.teardown(() => { process.kill(-child.pid!, 'SIGKILL') })
  return child
}

/** The run itself, with a command line in Claude's place. */
function run (state: string, id: string, claude: string) {
  const argv = [join(state, id, 'runner.sh'), join(state, id), join(state, 'runs', id), join(state, 'run-lock'), execMarker, id,
    '-', '60000', '-', '-', claude]
  return spawnSync('sh', argv, { encoding: 'utf8', input: '' })
}
