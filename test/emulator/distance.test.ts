import { once } from 'node:events'
import t from 'tap'
import type { AnsweredCall } from '../../emulator/rpc/distance.js'
import { readSettings } from '../../emulator/settings.js'
import { localApp, openEmulator } from '../helpers/emulator.js'

const delayMs = 150
const calls: AnsweredCall[] = []
const { emulator, bare, skip } = await openEmulator(t, { delayMs, onCall: (call) => { calls.push(call) } })
/** The latest call of a method. */
const latest = (method: string) => calls.findLast((call) => call.method === method)!
const took = ({ startedAt, answeredAt }: AnsweredCall) => answeredAt - startedAt
/** Timers may be early by a little. */
const least = delayMs - 2

t.test('EMULATOR_DELAY_MS is a number of milliseconds, and none by default', async (t) => {
  t.match(readSettings({}), { settings: { delayMs: 0 }, mistakes: { length: 0 } })
  t.match(readSettings({ EMULATOR_DELAY_MS: '60' }), { settings: { delayMs: 60 }, mistakes: { length: 0 } })
  for (const text of ['-1', 'slow', '1.5', '60001']) {
    t.match(readSettings({ EMULATOR_DELAY_MS: text }).mistakes, [/EMULATOR_DELAY_MS must be a number of milliseconds/], text)
  }
})

t.test('An answer is late, an error as well, and both are told', async (t) => {
  const started = performance.now()
  await bare.control('AppGetOrCreate', { appName: 'far', objectCreationType: 1 })
  t.ok(performance.now() - started >= least)
  t.match(latest('AppGetOrCreate'), { request: { appName: 'far' } })
  t.ok(took(latest('AppGetOrCreate')) >= least)
  await t.rejects(bare.control('ImageFromId', { imageId: 'im-none' }), { code: 5 })
  t.ok(took(latest('ImageFromId')) >= least)
})

t.test('Calls at the same time are late together, not one after the other', async (t) => {
  const before = calls.length
  await Promise.all(['one', 'two', 'three'].map((appName) => bare.control('AppGetOrCreate', { appName, objectCreationType: 1 })))
  const made = calls.slice(before)
  t.equal(made.length, 3)
  t.ok(Math.max(...made.map(({ startedAt }) => startedAt)) < Math.min(...made.map(({ answeredAt }) => answeredAt)))
})

t.test('Commands are as far away: their start, the first of their output, and their exit', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'far')
  const process = await (await create()).exec(['sh', '-c', 'echo one; sleep 0.5; echo two'])
  t.equal(await process.stdout.readText(), 'one\ntwo\n')
  t.equal(await process.wait(), 0)
  for (const method of ['TaskExecStart', 'TaskExecStdioRead', 'TaskExecWait']) t.ok(took(latest(method)) >= least, method)
})

t.test('Input that comes as a stream is answered as late', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'far')
  const sandbox = await create()
  await sandbox.filesystem.writeText('text', '/tmp/file')
  t.equal(await sandbox.filesystem.readText('/tmp/file'), 'text')
  t.ok(took(latest('TaskExecStdinWriteStream')) >= least)
})

t.test('A client that does not wait for its answer disturbs nobody', async (t) => {
  const call = bare.stream('ImageJoinStreaming', { imageId: 'im-none', timeout: 1 }) as unknown as NodeJS.EventEmitter & { cancel (): void }
  const failed = once(call, 'error')
  call.cancel()
  t.match(await failed, [{ code: 1 }])
  await t.resolves(bare.control('AppGetOrCreate', { appName: 'far' }))
})
