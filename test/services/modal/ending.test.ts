import { setTimeout as sleep } from 'node:timers/promises'
import { NotFoundError, type Sandbox, type SandboxCreateParams } from 'modal'
import type { ClientMiddleware } from 'nice-grpc-common'
import t from 'tap'
import { AppError } from '../../../errors.js'
import { endingOf, sandboxEnded, tapEndings, whileRunning } from '../../../services/modal/ending.js'
import { localApp, openEmulator, sdkClient } from '../../helpers/emulator.js'

const { emulator, skip } = await openEmulator(t)

t.test('How a sandbox has ended is what Modal says, not what its exit code seems to say (5.7)', { skip }, async (t) => {
  let answered: object = {}
  /** Next to the wire: whatever a server may answer. */
  const wire: ClientMiddleware = async function * (call, options) {
    const response = yield * call.next(call.request, options) as AsyncGenerator<any, any>
    if (/SandboxWait/.test(call.method.path) && response.result?.status > 0) Object.assign(response.result, answered)
    return response
  }
  const client = sdkClient(emulator.url, emulator, 'V2', { grpcMiddleware: [wire, tapEndings] })
  t.teardown(() => client.close())
  const { create } = await localApp(client, 'endings')
  const wait = async (sandbox: Sandbox) => { await sandbox.wait() }
  const ended = async (params: SandboxCreateParams, answer = {}, end = wait) => {
    answered = answer
    const sandbox = await create({ timeoutMs: 60_000, ...params })
    t.equal(await endingOf(sandbox), null)
    await end(sandbox)
    return await endingOf(sandbox)
  }
  const terminate = async (sandbox: Sandbox) => { await sandbox.terminate({ wait: true }) }

  await t.test('Of a sandbox that idles, whatever number it ends with', async (t) => {
    t.strictSame(await ended({ idleTimeoutMs: 1000 }, { exitcode: 1 }), { exitCode: 1, reason: 'idle_timeout' })
  })

  await t.test('Of one that is over, and of one that was terminated', async (t) => {
    t.strictSame(await ended({ timeoutMs: 1000 }), { exitCode: 124, reason: 'timeout' })
    t.strictSame(await ended({}, {}, terminate), { exitCode: 137, reason: 'terminated' })
  })

  await t.test('Of one whose command ends', async (t) => {
    t.strictSame(await ended({ command: ['sh', '-c', 'sleep 1; exit 3'] }), { exitCode: 3, reason: 'failed' })
    t.strictSame(await ended({ command: ['sh', '-c', 'sleep 1'] }), { exitCode: 0, reason: 'exited' })
  })

  await t.test('Of one that could not start, that Modal lost, or that used up its memory; and of one for which there is no word', async (t) => {
    for (const [status, reason] of [[5, 'start_failed'], [6, 'modal_failed'], [8, 'out_of_memory'], [99, null]] as const) {
      const ending = await ended({}, { status, exitcode: 137 }, terminate)
      t.strictSame(ending, { exitCode: 137, reason })
      t.match(sandboxEnded(ending!), { code: 'SANDBOX_ENDED', message: /ended|start/, details: ending })
    }
  })
})

t.test('Work begins while Modal is asked whether the sandbox runs', async (t) => {
  const never = new Promise<never>(() => {})
  const sandbox = (poll: () => Promise<number | null>) => ({ sandboxId: 'sb-1', poll }) as unknown as Sandbox
  const lateOnes: string[] = []
  const onLate = (result: string) => { lateOnes.push(result) }
  const refused = new AppError('MODAL_ERROR')

  await t.test('What succeeds is proof enough, however long Modal takes, and even if it does not answer', async (t) => {
    t.equal(await whileRunning(sandbox(() => never), Promise.resolve('done'), onLate), 'done')
    const away = sandbox(async () => { throw new Error('away') })
    t.equal(await whileRunning(away, sleep(20, 'done'), onLate), 'done')
    t.equal(await whileRunning(sandbox(async () => null), sleep(20, 'done'), onLate), 'done')
  })

  await t.test('That the sandbox has ended is told at once, also in place of what has failed because of it', async (t) => {
    const ended = sandbox(async () => 137)
    await t.rejects(whileRunning(ended, never, onLate), { code: 'SANDBOX_ENDED', details: { exitCode: 137 } })
    const slow = sandbox(async () => await sleep(20, 137))
    await t.rejects(whileRunning(slow, Promise.reject(refused), onLate), { code: 'SANDBOX_ENDED' })
    const forgotten = sandbox(async () => { throw new NotFoundError('who?') })
    await t.rejects(whileRunning(forgotten, never, onLate), { code: 'SANDBOX_NOT_FOUND' })
  })

  await t.test('A failure in a sandbox that runs, or may run, is told as it is', async (t) => {
    for (const poll of [async () => null, async () => { throw new Error('away') }]) {
      await t.rejects(whileRunning(sandbox(poll), Promise.reject(refused), onLate), { code: 'MODAL_ERROR' })
    }
  })

  await t.test('What comes after all is handed over', async (t) => {
    t.same(lateOnes, [])
    await t.rejects(whileRunning(sandbox(async () => 0), sleep(20, 'late'), onLate), { code: 'SANDBOX_ENDED' })
    await sleep(50)
    t.same(lateOnes, ['late'])
  })
})
