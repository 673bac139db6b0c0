import type { Sandbox } from 'modal'
import { ClientError, Status, type ClientMiddleware } from 'nice-grpc-common'
import t from 'tap'
import type { Account } from '../../../schemas/account.js'
import { listRunning, listRunningOfAll } from '../../../services/modal/lists.js'
import { appName } from '../../../services/modal/names.js'
import { listSandboxes } from '../../../services/sandboxes/list.js'
import { OwnedSandboxes } from '../../../services/sandboxes/owned.js'
import { encodeTags, type SandboxRecord } from '../../../services/sandboxes/tags.js'
import { localApp, openEmulator, sdkClient } from '../../helpers/emulator.js'

const { emulator, skip } = await openEmulator(t)

t.test('A list of sandboxes is one call to Modal, not one for each of them', { skip }, async (t) => {
  const account = { id: 'lister' } as Account
  const calls: string[] = []
  let leavesOut = false
  /** Next to the wire: counts the calls, and answers as a server that leaves tags out of its lists. */
  const wire: ClientMiddleware = async function * (call, options) {
    calls.push(call.method.path.split('/').at(-1)!)
    const response = yield * call.next(call.request, options) as AsyncGenerator<any, any>
    if (leavesOut && /SandboxList/.test(call.method.path)) for (const one of response.sandboxes) one.tags = []
    return response
  }
  const client = sdkClient(emulator.url, emulator, 'V2', { grpcMiddleware: [wire] })
  t.teardown(() => client.close())
  const { create, app } = await localApp(client, appName(account.id))
  const record = (number: number): SandboxRecord => ({
    owner: appName(account.id),
    deployment: 'test',
    createdAt: `2026-01-0${number}T00:00:00.000Z`,
    expiresAt: '2036-01-01T00:00:00.000Z',
    image: 'local',
    workdir: '/work',
    request: `r${number}`,
    tags: { number: String(number) }
  })
  const made: Sandbox[] = []
  for (const number of [1, 2, 3]) made.push(await create({ tags: encodeTags(record(number)), timeoutMs: 60_000 }))
  t.teardown(() => Promise.all(made.map((sandbox) => sandbox.terminate())))
  const list = async () => {
    calls.length = 0
    const { sandboxes } = await listSandboxes(client, new OwnedSandboxes(client), account, { limit: 50 })
    t.strictSame(sandboxes.map(({ tags }) => tags), [{ number: '3' }, { number: '2' }, { number: '1' }])
    return calls.filter((method) => method.startsWith('SandboxTagsGet')).length
  }

  await t.test('Their tags come with the list', async (t) => {
    t.equal(await list(), 0)
  })

  await t.test('A server that leaves them out is asked for each', async (t) => {
    leavesOut = true
    t.equal(await list(), 3)
    leavesOut = false
  })

  await t.test('A list that is left early does not take the tags of another one away', async (t) => {
    const slow = listRunning(client, { appId: app.appId })
    const first = await slow.next()
    const other = listRunning(client, { appId: app.appId })
    await other.next()
    await other.return(undefined)
    t.ok(first.value?.tags)
    for await (const { tags } of slow) t.ok(tags)
  })
})

t.test('Sandboxes of all apps are found where Modal lists them by app only', { skip }, async (t) => {
  const tags = { deployment: 'everywhere' }
  for (const strict of ['0', 'lists-of-apps']) {
    const { emulator } = await openEmulator(t, { strict })
    for (const backend of ['V1', 'V2'] as const) {
      const client = sdkClient(emulator.url, emulator, backend)
      t.teardown(() => client.close())
      const made: string[] = []
      for (const name of ['acct-one', 'acct-two']) {
        const { create } = await localApp(client, name)
        made.push((await create({ tags: { ...tags, backend } })).sandboxId)
        await create({ tags: { ...tags, backend: 'another' } })
      }
      const found: string[] = []
      for await (const { sandbox } of listRunningOfAll(client, { ...tags, backend })) found.push(sandbox.sandboxId)
      t.strictSame(found.sort(), made.sort(), `${strict} ${backend}`)
    }
  }
})

t.test('A list of all sandboxes that fails is a failure, not a reason to list them by app', async (t) => {
  const failing: ClientMiddleware = async function * (call) {
    t.match(call.method.path, /SandboxList/)
    throw new ClientError(call.method.path, Status.PERMISSION_DENIED, 'no')
  }
  const client = sdkClient('http://127.0.0.1:1', { tokenId: 'x', tokenSecret: 'x' }, 'V2', { grpcMiddleware: [failing] })
  t.teardown(() => client.close())
  await t.rejects(listRunningOfAll(client, {}).next(), { code: Status.PERMISSION_DENIED })
})
