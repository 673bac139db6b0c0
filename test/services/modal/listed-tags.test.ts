import type { Sandbox } from 'modal'
import type { ClientMiddleware } from 'nice-grpc-common'
import t from 'tap'
import type { Account } from '../../../schemas/account.js'
import { listRunning, tapListedTags } from '../../../services/modal/listed-tags.js'
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
  const client = sdkClient(emulator.url, emulator, 'V2', { grpcMiddleware: [wire, tapListedTags] })
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
