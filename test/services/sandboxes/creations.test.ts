import t from 'tap'
import { AppError } from '../../../errors.js'
import { creationsName } from '../../../services/modal/names.js'
import { Creations } from '../../../services/sandboxes/creations.js'
import { accountOf } from '../../helpers/account.js'
import { openEmulator } from '../../helpers/emulator.js'

const { emulator } = await openEmulator(t)
const client = emulator.modal()
const account = accountOf({ id: 'creator' })
const logged: object[] = []
const note = (fields: object) => { logged.push(fields) }
const log = { debug () {}, info () {}, warn: note, error: note }
const creations = new Creations(client)
const otherReplica = new Creations(emulator.modal())

const warning = { code: 'VOLUME_SHARED' as const, message: 'shared', sandboxes: ['sb-2'] }

/** A creation whose end is the caller's. */
async function begin () {
  let end: { created: (id: string) => void, failed: (error: Error) => void }
  const ended = new Promise<string>((resolve, reject) => { end = { created: resolve, failed: reject } })
  const { id } = await creations.start(account, async (onStep) => {
    onStep({ step: 'limits', status: 'started' })
    onStep({ step: 'limits', status: 'done' })
    onStep({ step: 'image', status: 'started' })
    return { id: await ended, warnings: [warning] }
  }, log)
  return { id, ...end! }
}

async function settled (id: string) {
  for (;;) {
    const creation = await otherReplica.get(account, id)
    if (creation.status !== 'creating') return creation
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

t.test('Every replica knows how far a creation is, and how it ended', async (t) => {
  const made = await begin()
  t.match(await creations.get(account, made.id), { status: 'creating', step: 'image', sandboxId: null, error: null })
  t.match(await otherReplica.get(account, made.id), { id: made.id, status: 'creating' })
  made.created('sb-1')
  t.match(await settled(made.id), { status: 'created', sandboxId: 'sb-1', warnings: [warning], error: null })
  t.strictSame(await creations.get(account, made.id), await otherReplica.get(account, made.id))

  const failed = await begin()
  failed.failed(new AppError('IMAGE_BUILD_FAILED', {
    message: 'No such image.', step: 'image', details: { limit: 7 }, cause: new Error('hidden')
  }))
  const { hint } = new AppError('IMAGE_BUILD_FAILED')
  t.match(await settled(failed.id), {
    status: 'failed', sandboxId: null, error: { statusCode: 422, code: 'IMAGE_BUILD_FAILED', message: 'No such image.', hint, step: 'image', limit: 7 }
  })
  t.match(logged, [{ creationId: failed.id, code: 'IMAGE_BUILD_FAILED' }], 'and the log has it once')
})

t.test('What is refused before the image is built is an error of the request itself', async (t) => {
  await t.rejects(creations.start(account, async () => { throw new AppError('LIMIT_REACHED') }, log), { code: 'LIMIT_REACHED' })
})

t.test('One whose replica has stopped has failed, and says what to do', async (t) => {
  const queue = await client.queues.fromName(creationsName(account.id))
  const id = 'create_' + 'a'.repeat(20)
  const at = new Date(Date.now() - 10 * 60_000).toISOString()
  const entry = { status: 'creating', startedAt: at, step: null, sandboxId: null, warnings: [], error: null, at }
  await queue.put(JSON.stringify(entry), { partition: id })
  t.match(await creations.get(account, id), { status: 'failed', error: { code: 'CREATE_INTERRUPTED', hint: /Idempotency-Key/ } })
})

t.test('A service that stops says so at once', async (t) => {
  const stopping = new Creations(client)
  const { id } = await stopping.start(account, async (onStep) => {
    onStep({ step: 'limits', status: 'done' })
    return await new Promise<never>(() => {})
  }, log)
  await stopping.close()
  t.match(await otherReplica.get(account, id), { status: 'failed', error: { code: 'CREATE_INTERRUPTED' } })
})

t.test('Another account\'s creation is as unknown as one that never was', async (t) => {
  const { id, created } = await begin()
  for (const [who, what] of [[accountOf({ id: 'other' }), id], [account, 'create_' + 'b'.repeat(20)], [account, '../x']] as const) {
    await t.rejects(creations.get(who, what), { code: 'CREATION_NOT_FOUND' })
  }
  created('sb-1')
  await settled(id)
})
