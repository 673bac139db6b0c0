import { status } from '@grpc/grpc-js'
import { SignJWT } from 'jose'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { mock } from 'node:test'
import t from 'tap'
import { localApp, openEmulator } from '../helpers/emulator.js'

const { emulator, bare, skip } = await openEmulator(t)

t.test('only who holds the tokens may call, and a task token opens one task (4.8)', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'more')
  const sandbox = await create()
  for (const pair of [{ tokenId: emulator.tokenId, tokenSecret: 'as-wrong' }, { tokenId: 'ak-wrong', tokenSecret: emulator.tokenSecret }]) {
    await t.rejects(emulator.modal('V2', pair).apps.fromName('more'), /UNAUTHENTICATED/)
  }
  const [mine, other] = await Promise.all([sandbox, await create()].map(({ sandboxId }) => bare.task(sandboxId)))
  const start = { taskId: mine!.taskId, execId: 'stolen', commandArgs: ['true'] }
  await t.rejects(bare.router(other!.jwt, 'TaskExecStart', start), { code: status.PERMISSION_DENIED })
  await t.rejects(bare.router(`${mine!.jwt}x`, 'TaskExecStart', start), { code: status.UNAUTHENTICATED })
  await t.rejects(bare.router('', 'TaskExecStart', start), { code: status.UNAUTHENTICATED })
  t.equal((await stat(join(emulator.dataDir, 'credentials.json'))).mode & 0o777, 0o600)
})

t.test('a token that has expired, or was made for something else, opens nothing', { skip }, async (t) => {
  const { create } = await localApp(emulator.modal(), 'tokens')
  const sandbox = await create()
  const { taskId } = await bare.task(sandbox.sandboxId)
  const { signingKey } = JSON.parse(await readFile(join(emulator.dataDir, 'credentials.json'), 'utf8'))
  const sign = (expires: number, audience: string, key = signingKey) => new SignJWT()
    .setProtectedHeader({ alg: 'HS256' }).setSubject(taskId).setAudience(audience).setExpirationTime(expires)
    .sign(Buffer.from(key, 'base64url'))
  mock.timers.enable({ apis: ['Date'], now: Date.now() })
  t.teardown(() => mock.timers.reset())
  const now = Math.floor(Date.now() / 1000)
  const poll = (jwt: string) => bare.router(jwt, 'TaskExecPoll', { taskId, execId: 'none' })
  await t.rejects(poll(await sign(now + 60, 'task')), { code: status.NOT_FOUND }, 'a good one gets through')
  for (const jwt of [await sign(now - 1, 'task'), await sign(now + 60, 'client'), await sign(now + 60, 'task', 'AAAA')]) {
    await t.rejects(poll(jwt), { code: status.UNAUTHENTICATED })
  }
  const brief = await sign(now + 2, 'task')
  await t.rejects(poll(brief), { code: status.NOT_FOUND })
  mock.timers.setTime((now + 3) * 1000)
  await t.rejects(poll(brief), { code: status.UNAUTHENTICATED }, 'also when its signature was checked before')
})
