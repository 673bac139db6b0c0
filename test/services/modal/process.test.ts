import t from 'tap'
import { killMarked } from '../../../services/modal/kill.js'
import { execMarker, explainFailure, runCommand, SandboxProcess } from '../../../services/modal/process.js'
import { eventually } from '../../helpers/containers.js'
import { localApp, testEmulator } from '../../helpers/emulator.js'

t.test('A command in a sandbox', async (t) => {
  const emulator = await testEmulator()
  t.teardown(() => emulator.stop())
  const modal = emulator.modal()
  const app = await modal.apps.fromName('process', { createIfMissing: true })
  const image = modal.images.fromRegistry('local')
  const sandbox = await modal.sandboxes.create(app, image)
  const sh = (script: string) => ['sh', '-c', script]
  const start = async (script: string, options: object = {}) =>
    await SandboxProcess.start(sandbox, sh(script), { step: 'test', ...options })
  const read = async (process: SandboxProcess) => {
    const said = { stdout: '', stderr: '' }
    const exitCode = await process.pipe((stream, bytes) => { said[stream] += Buffer.from(bytes).toString() })
    return { exitCode, ...said }
  }

  await t.test('gives its output on both streams, then its exit code', async (t) => {
    t.strictSame(await read(await start('pwd; echo err >&2; exit 3')), { exitCode: 3, stdout: '/\n', stderr: 'err\n' })
    const { stdout } = await read(await start('pwd; echo $A', { workdir: '/tmp', env: { A: 'b' } }))
    t.equal(stdout, '/tmp\nb\n')
  })

  await t.test('reads its input to the end, or not at all', async (t) => {
    const process = await start('cat')
    const written = process.write((async function * () {
      yield Buffer.from('one ')
      yield Buffer.alloc(3 * 1024 * 1024, 'x')
    })())
    t.equal((await read(process)).stdout.length, 4 + 3 * 1024 * 1024)
    await written
    const deaf = await start('exit 0')
    t.equal((await read(deaf)).exitCode, 0)
    await deaf.write('nobody reads this')
  })

  await t.test('whose input breaks off is never told that it has ended', async (t) => {
    const process = await start('cat; echo complete')
    await t.rejects(process.write((async function * () {
      yield Buffer.from('half')
      throw new Error('broken')
    })()), { message: 'broken' })
    const { value } = await process.stdout[Symbol.asyncIterator]().next()
    t.equal(Buffer.from(value!).toString(), 'half')
    process.release()
  })

  await t.test('is over when it has exited, though a grandchild holds its output', async (t) => {
    const { exitCode, stdout } = await read(await start('sleep 60 & echo done'))
    t.strictSame({ exitCode, stdout }, { exitCode: 0, stdout: 'done\n' })
  })

  await t.test('is found by its marker, and killed with all it has started', async (t) => {
    const process = await start('sleep 4343 & sleep 4343', { marker: 'test-kill' })
    const ended = process.exit()
    t.ok(await killMarked(sandbox, `${execMarker}=test-kill`, [{ signal: 'KILL', waitMs: 2000 }]))
    t.not(await ended, 0)
    process.release()
    t.ok(await killMarked(sandbox, `${execMarker}=test-kill`), 'nothing of it is left')
  })

  await t.test('that is released keeps nothing of this process busy, and goes on', async (t) => {
    const timers: NodeJS.Timeout[] = []
    const { setTimeout } = globalThis
    t.teardown(() => { globalThis.setTimeout = setTimeout })
    globalThis.setTimeout = ((work: () => void, ms: number) => {
      const timer = setTimeout(work, ms)
      if (ms > 3_000_000 && new Error().stack!.includes('node_modules/modal/')) timers.push(timer)
      return timer
    }) as typeof setTimeout
    const released = await start('echo one; sleep 4344', { timeoutMs: 3_600_000 })
    const piped = released.pipe(() => { released.release() })
    await t.rejects(piped, { name: 'AbortError' })
    t.ok(timers.length > 0)
    const isOver = (timer: NodeJS.Timeout) => !timer.hasRef() || ('_destroyed' in timer && timer._destroyed === true)
    t.ok(await eventually(async () => timers.every(isOver)), 'no timer of the SDK is left')
    t.equal((await runCommand(sandbox, 'look', sh('pgrep -fx "sleep 4344" | wc -l'))).stdout.toString().trim(), '1')
  })

  await t.test('is refused when it says more than it may, or can not be started', async (t) => {
    await t.rejects(runCommand(sandbox, 'much', sh('head -c 100000 /dev/zero')), { code: 'COMMAND_FAILED', step: 'much' })
    t.equal((await runCommand(sandbox, 'much', sh('head -c 100000 /dev/zero'), { limit: 100_000 })).stdout.length, 100_000)
    t.match(await runCommand(sandbox, 'fails', sh('cat; echo why >&2; exit 4'), { stdin: 'in' }),
      { exitCode: 4, stderr: 'why\n', stdout: Buffer.from('in') })
  })

  await t.test('does not outlive its sandbox unseen', async (t) => {
    const doomed = await modal.sandboxes.create(app, image)
    const process = await SandboxProcess.start(doomed, sh('sleep 4345'), { step: 'test', silenceMs: 100 })
    const ended = read(process).then(
      ({ exitCode }) => { t.not(exitCode, 0, 'the exec itself may tell') },
      async (error: unknown) => { t.match(await explainFailure(error, doomed, 'test'), { code: 'SANDBOX_ENDED' }) })
    await doomed.terminate({ wait: true })
    await ended
    await t.rejects(runCommand(doomed, 'late', sh('true')), { code: 'SANDBOX_ENDED' })
  })
})

t.test('A sandbox that Modal has forgotten has ended, as far as its commands can tell', async (t) => {
  const emulator = await testEmulator({ strict: 'forgotten=1' })
  t.teardown(() => emulator.stop())
  const { create } = await localApp(emulator.modal(), 'forgotten')
  const sandbox = await create()
  await sandbox.terminate()
  t.ok(await eventually(async () => await sandbox.poll().then(() => false, () => true)))
  await t.rejects(runCommand(sandbox, 'test', ['true']), { code: 'SANDBOX_ENDED' })
  const ended = { code: 'SANDBOX_ENDED', details: { exitCode: null, reason: null } }
  t.match(await explainFailure(new Error('lost'), sandbox, 'test'), ended)
})
