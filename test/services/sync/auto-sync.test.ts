import { mock } from 'node:test'
import t from 'tap'
import { AppError } from '../../../errors.js'
import { AutoSync } from '../../../services/sync/auto-sync.js'

t.test('Work is stored in time, once more when that failed, and whatever must not be deleted', async (t) => {
  const asked: object[] = []
  const warned: unknown[] = []
  let outcome: () => Error | undefined = () => undefined
  const sync = {
    async sync (_owned: unknown, { direction, delete: isDeleting }: { direction: string, delete?: boolean }) {
      asked.push({ direction, isDeleting })
      const error = outcome()
      if (error !== undefined) throw error
      return {} as never
    }
  }
  const log = { info () {}, error () {}, warn: (fields: unknown) => { warned.push(fields) } }
  const autoSync = new AutoSync(sync, log)
  t.teardown(() => autoSync.close())
  const lasting = (ms: number, more: object = {}) => ({
    id: 'sb-1',
    createdAt: new Date(Date.now()).toISOString(),
    expiresAt: new Date(Date.now() + ms).toISOString(),
    idleTimeoutMs: '60000',
    s3: { syncOnTerminate: true, syncAfterRun: true, ...more },
    sandbox: { poll: async () => null }
  }) as never
  const seen = async (count: number) => {
    for (let tries = 0; tries < 200 && asked.length < count; tries++) {
      await new Promise((resolve) => { setTimeout(resolve, 10) })
    }
    return asked.splice(0)
  }
  autoSync.watch(lasting(300))
  autoSync.watch(lasting(300))
  t.strictSame(await seen(1), [{ direction: 'upload', isDeleting: false }], 'before it expires, once')
  autoSync.watch(lasting(-1000))
  autoSync.watch(lasting(600_000, { idle: true }))
  autoSync.watch({ ...lasting(600_000) as object, id: 'sb-2', idleTimeoutMs: '200' } as never)
  t.strictSame(await seen(1), [{ direction: 'upload', isDeleting: false }], 'before it is idle for too long')
  autoSync.watch({ ...lasting(100) as object, id: 'sb-3', s3: undefined } as never)
  autoSync.forget('sb-1')

  outcome = () => asked.length === 1 ? new AppError('SYNC_REFUSED') : undefined
  await autoSync.beforeTerminate(lasting(1, { delete: true }), log)
  t.strictSame(await seen(2), [{ direction: 'upload', isDeleting: true }, { direction: 'upload', isDeleting: false }])
  outcome = () => new AppError('S3_UNAVAILABLE')
  await t.rejects(autoSync.beforeTerminate(lasting(1, { delete: true }), log), { code: 'S3_UNAVAILABLE' })
  t.equal((await seen(1)).length, 1)
  await autoSync.afterRun(lasting(600_000))
  t.match(warned, [{ sandboxId: 'sb-1', occasion: 'after a run' }], 'nobody waits for it, so the log has it')
  outcome = () => new AppError('SYNC_ACTIVE')
  await autoSync.afterRun(lasting(600_000))
  outcome = () => new AppError('WORKSPACE_LOST')
  await autoSync.afterRun({ ...lasting(600_000) as object, sandbox: { poll: async () => 137 } } as never)
  await autoSync.afterRun(lasting(600_000, { syncAfterRun: false }))
  t.equal(warned.length, 1, 'neither another sync nor an ended sandbox is worth a word')
  t.equal((await seen(3)).length, 3)
})

t.test('A last copy is tried again for as long as its sandbox lives, one on a volume once', async (t) => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'] })
  t.teardown(() => mock.timers.reset())
  let saves = 0
  let failure: Error | undefined = new AppError('S3_UNAVAILABLE')
  const sync = {
    async sync () {
      saves++
      if (failure !== undefined) throw failure
      return {} as never
    }
  }
  const autoSync = new AutoSync(sync, { info () {}, error () {}, warn () {} })
  t.teardown(() => autoSync.close())
  const sandbox = (more: object = {}) => ({
    id: 'sb-1',
    createdAt: new Date().toISOString(),
    expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
    idleTimeoutMs: '3600000',
    s3: { syncOnTerminate: false },
    sandbox: { poll: async () => null },
    ...more
  }) as never
  const savesWithin = async (ms: number) => {
    const before = saves
    for (let passed = 0; passed < ms; passed += 500) {
      mock.timers.tick(500)
      await new Promise((resolve) => { setImmediate(resolve) })
    }
    return saves - before
  }
  autoSync.retry(sandbox())
  t.equal(await savesWithin(29_000), 0)
  t.equal(await savesWithin(2000), 1)
  t.equal(await savesWithin(600_000), 3, 'after 1, 2 and 4 minutes')
  failure = new AppError('SYNC_ACTIVE')
  t.equal(await savesWithin(300_000), 1, 'the sync that runs may fail, too')
  failure = undefined
  t.equal(await savesWithin(300_000), 1)
  t.equal(await savesWithin(1_000_000), 0, 'it is stored')

  failure = new AppError('S3_UNAVAILABLE')
  autoSync.retry(sandbox({ idleTimeoutMs: '20000' }))
  t.equal(await savesWithin(60_000), 8, 'often enough that it is never idle for too long')
  autoSync.forget('sb-1')
  t.equal(await savesWithin(60_000), 0, 'it has ended')
  autoSync.retry(sandbox({ volume: 'v' }))
  t.equal(await savesWithin(3_600_000), 1)
  autoSync.retry(sandbox({ expiresAt: new Date(Date.now() + 10_000).toISOString() }))
  const atTheEnd = await savesWithin(60_000)
  t.ok(atTheEnd >= 3 && atTheEnd < 10, 'more often towards the end, and not beyond it')
  autoSync.retry(sandbox({ sandbox: { poll: async () => 137 } }))
  t.equal(await savesWithin(3_600_000), 1)
})
