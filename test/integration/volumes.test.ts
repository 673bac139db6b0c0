import t from 'tap'
import { volumeName } from '../../services/modal/names.js'
import { isolation } from '../helpers/isolation.js'
import { accountIds, skip, startService, type keys } from '../helpers/service.js'

const path = '/api/modal/sandbox'
type Options = Parameters<Awaited<ReturnType<typeof startService>>['request']>[1]

t.test('volumes', { skip }, async (t) => {
  const service = await startService()
  const { client } = service.app.modal
  t.teardown(() => service.close())
  const request = async (url: string, options: Options = {}) => {
    const response = await service.request(url, options)
    return { status: response.status, body: await response.json() as any }
  }
  const create = async (volume: object, more: object = {}, as: keyof typeof keys = 'alice') =>
    await request(path, { method: 'POST', as, json: { volume, ...more } })
  const created = async (volume: object, more: object = {}, as: keyof typeof keys = 'alice') => {
    const { status, body } = await create(volume, more, as)
    if (status !== 200) throw new Error(JSON.stringify(body))
    return body
  }
  const sh = async (id: string, script: string) => {
    const { body } = await request(`${path}/${id}/exec`, {
      method: 'POST', json: { command: ['sh', '-c', script] }, headers: { accept: 'application/json' }
    })
    return `${body.stdout}${body.stderr}` as string
  }
  const end = async (...ids: string[]) => {
    await Promise.all(ids.map(async (id) => await request(`${path}/${id}`, { method: 'DELETE' })))
  }
  const remove = async (name: string, as: keyof typeof keys = 'alice') =>
    await request(`/api/modal/volume/${encodeURIComponent(name)}`, { method: 'DELETE', as })
  const list = async (as: keyof typeof keys = 'alice') => (await request('/api/modal/volume', { as })).body.volumes

  await t.test('The second sandbox on a volume is told of the first by id and name (5.6)', async (t) => {
    const first = await created({ name: 'shared' }, { name: 'first-one' })
    t.notOk('warnings' in first)
    const second = await created({ name: 'shared' })
    t.match(second.warnings, [{ code: 'VOLUME_SHARED', message: /first-one .*shared/, sandboxes: [first.id] }])
    const elsewhere = await created({ name: 'other' })
    t.notOk('warnings' in elsewhere)
    await end(first.id, second.id, elsewhere.id)
    const third = await created({ name: 'shared' })
    t.notOk('warnings' in third, 'those that have ended are no neighbours')
    await end(third.id)
  })

  await t.test('An exclusive sandbox refuses to share, whichever comes first', async (t) => {
    const plain = await created({ name: 'alone' })
    t.match(await create({ name: 'alone', exclusive: true }), {
      status: 409, body: { code: 'VOLUME_IN_USE', message: new RegExp(plain.id), sandboxes: [plain.id] }
    })
    await end(plain.id)
    const exclusive = await created({ name: 'alone', exclusive: true })
    t.match(exclusive.volume, { exclusive: true, readOnly: false, subPath: null })
    t.match(await create({ name: 'alone' }), { status: 409, body: { code: 'VOLUME_IN_USE', sandboxes: [exclusive.id] } })
    const { body: { sandboxes } } = await request(path)
    t.strictSame(sandboxes.map(({ id }: { id: string }) => id), [exclusive.id], 'what was refused has ended')
    await end(exclusive.id)
  })

  await t.test('Of exclusive sandboxes that are created at once at most one is left', async (t) => {
    const answers = await Promise.all([1, 2, 3].map(async () => await create({ name: 'race', exclusive: true })))
    const made = answers.filter(({ status }) => status === 200)
    t.ok(made.length <= 1)
    t.ok(answers.every(({ status, body }) => status === 200 || body.code === 'VOLUME_IN_USE'))
    await end(...made.map(({ body }) => body.id))
  })

  await t.test('A repeated request is not its own neighbour', async (t) => {
    const again = async () => await request(path, {
      method: 'POST', json: { volume: { name: 'again', exclusive: true } }, headers: { 'idempotency-key': 'again' }
    })
    const first = await again()
    const second = await again()
    t.match([first.status, second.status], [200, 200])
    t.equal(second.body.id, first.body.id)
    await end(first.body.id)
  })

  await t.test('Parts of a volume that do not overlap are not shared; a part is all that is seen', async (t) => {
    const one = await created({ name: 'parts', subPath: 'a/one', exclusive: true })
    const two = await created({ name: 'parts', subPath: 'a/two', exclusive: true })
    t.notOk('warnings' in two)
    t.match(two.volume, { subPath: 'a/two' })
    t.equal((await create({ name: 'parts', subPath: 'a' })).status, 409)
    await sh(one.id, 'echo 1 > /workspace/f')
    await end(one.id, two.id)
    const whole = await created({ name: 'parts' })
    t.equal(await sh(whole.id, 'cd /workspace; find . -type f; cat a/one/f'), './a/one/f\n1\n')
    await end(whole.id)
    for (const subPath of ['../x', 'a/../b', '/a', 'a/', './a', 'a//b', '.', '..', '']) {
      t.match(await create({ name: 'parts', subPath }), { status: 400, body: { message: /^body\.volume\.subPath / } }, subPath)
    }
    t.equal((await create({ name: 'parts', subPath: 'x', version: 3 })).status, 400)
  })

  await t.test('A read-only volume takes no writes, and its readers do not warn each other', async (t) => {
    await end((await created({ name: 'read' })).id)
    const reader = await created({ name: 'read', readOnly: true })
    t.match(await sh(reader.id, 'touch /workspace/x'), /Read-only file system/)
    const other = await created({ name: 'read', readOnly: true })
    t.notOk('warnings' in other)
    const writer = await created({ name: 'read' })
    t.match(writer.warnings, [{ code: 'VOLUME_SHARED' }])
    await end(reader.id, other.id, writer.id)
  })

  await t.test('A reload shows what others have stored, and is refused while files are open', {
    skip: isolation === 'runsc' && 'gVisor cannot change mounts of a running sandbox'
  }, async (t) => {
    const [one, two] = [await created({ name: 'reload' }), await created({ name: 'reload' })]
    await sh(one.id, 'echo new > /workspace/file')
    t.match(await request(`${path}/${one.id}/volume/reload`, { method: 'POST' }), { status: 200, body: { name: 'reload', mountPath: '/workspace' } })
    t.equal(await sh(two.id, 'ls /workspace'), '')
    const sandbox = await client.sandboxes.fromId(two.id)
    const holder = await sandbox.exec(['sh', '-c', 'exec 9> /workspace/held; echo open; read line'])
    await holder.stdout.getReader().read()
    t.match(await request(`${path}/${two.id}/volume/reload`, { method: 'POST' }), { status: 409, body: { code: 'VOLUME_BUSY' } })
    await holder.closeStdin()
    await holder.wait()
    t.equal((await request(`${path}/${two.id}/volume/reload`, { method: 'POST' })).status, 200)
    t.equal(await sh(two.id, 'cat /workspace/file'), 'new\n')
    await end(one.id, two.id)
    const none = (await request(path, { method: 'POST', json: {} })).body
    t.match(await request(`${path}/${none.id}/volume/reload`, { method: 'POST' }), { status: 409, body: { code: 'NO_VOLUME' } })
    await end(none.id)
  })

  await t.test('Volumes are listed with their version and users, and deleted when nobody mounts them', async (t) => {
    const { id } = await created({ name: 'second', version: 2 })
    t.match((await list()).find(({ name }: { name: string }) => name === 'second'), { version: 2, sandboxes: [id], createdAt: String })
    t.match(await remove('second'), { status: 409, body: { code: 'VOLUME_IN_USE', sandboxes: [id] } })
    t.match(await create({ name: 'second', version: 1 }), { status: 409, body: { code: 'VOLUME_VERSION', message: /second/ } })
    await end(id)
    const kept = await created({ name: 'second' })
    t.match((await list()).find(({ name }: { name: string }) => name === 'second'), { version: 2 }, 'what exists keeps its version')
    await end(kept.id)
    t.match(await remove('second'), { status: 200, body: { name: 'second', deleted: true } })
    t.notOk((await list()).some(({ name }: { name: string }) => name === 'second'))
    t.match(await remove('second'), { status: 404, body: { code: 'VOLUME_NOT_FOUND' } })
  })

  await t.test('No account sees, deletes or learns of another one\'s volumes (6.3, 6.10)', async (t) => {
    const theirs = await created({ name: 'private' }, {}, 'bob')
    t.notOk((await list()).some(({ name }: { name: string }) => name === 'private'))
    const mine = await created({ name: 'private' })
    t.notOk('warnings' in mine, 'a volume of that name is another volume')
    await end(mine.id)
    t.equal((await remove('private')).status, 200)
    const foreign = volumeName(accountIds.bob, 'private')
    for (const name of ['private', foreign, `../${foreign}`, foreign.slice(1), `.${foreign}`, '*', '']) {
      t.equal((await remove(name)).status, 404, name)
    }
    t.match(await list('bob'), [{ name: 'private', sandboxes: [theirs.id] }])
    t.equal((await service.request('/api/modal/volume', { as: null })).status, 401)
    t.equal((await service.request('/api/modal/volume/private', { as: null, method: 'DELETE' })).status, 401)
    await request(`${path}/${theirs.id}`, { method: 'DELETE', as: 'bob' })
    t.equal((await remove('private', 'bob')).status, 200)
  })
})
