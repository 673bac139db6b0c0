import t from 'tap'
import { randomId } from '../../lib/ids.js'
import { skip, startService } from '../helpers/service.js'

const path = '/api/modal/sandbox'
const registry = process.env.TEST_LIVE === '1' ? 'debian:12-slim' : 'local'

t.test('A sandbox whose image takes long is created while nobody waits (6.1)', { skip }, async (t) => {
  const service = await startService()
  t.teardown(service.close)
  const request = async (url: string, options: Parameters<typeof service.request>[1] = {}) => {
    const response = await service.request(url, options)
    return { status: response.status, headers: response.headers, body: await response.json() as any }
  }
  const begin = async (json: object, headers = {}) =>
    await request(path, { method: 'POST', json, headers: { prefer: 'respond-async', ...headers } })
  const settled = async (location: string) => {
    for (;;) {
      const { body } = await request(location)
      if (body.status !== 'creating') return body
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
  const image = (command: string) => ({ registry, claude: false, dockerfileCommands: [`RUN echo ${randomId('b')}; ${command}`] })

  await t.test('with 202 at once, and its sandbox once it is there', async (t) => {
    const key = { 'idempotency-key': randomId('key') }
    const body = { image: image('sleep 1') }
    const begun = await begin(body, key)
    t.equal(begun.status, 202, JSON.stringify(begun.body))
    t.equal(begun.headers.get('preference-applied'), 'respond-async')
    t.match(begun.body, { status: 'creating', step: /^(limits|image)$/, sandboxId: null, error: null })
    const location = begun.headers.get('location')!
    t.equal(location, `${path}/creations/${begun.body.id}`)
    t.equal((await service.request(location, { as: 'bob' })).status, 404)
    const { status, sandboxId } = await settled(location)
    t.equal(status, 'created')
    service.remember(sandboxId)
    t.match((await request(`${path}/${sandboxId}`)).body, { status: 'running' })
    t.equal((await settled((await begin(body, key)).headers.get('location')!)).sandboxId, sandboxId, 'the same key is the same sandbox')
  })

  await t.test('and a failed build is told there', async (t) => {
    const { headers } = await begin({ image: image('exit 3') })
    t.match(await settled(headers.get('location')!), { status: 'failed', error: { code: 'IMAGE_BUILD_FAILED', statusCode: 422, step: 'image' } })
  })

  await t.test('while what can be refused before is refused at once', async (t) => {
    t.match(await begin({ gpu: 'H100' }), { status: 403, body: { code: 'FORBIDDEN' } })
    t.match(await begin({ name: '' }), { status: 400, body: { code: 'BAD_REQUEST' } })
    const volume = { name: randomId('v').slice(0, 12), exclusive: true }
    const created = await request(path, { method: 'POST', json: { volume } })
    t.equal(created.status, 200, 'the image is known from now on')
    t.match(await begin({ volume }), { status: 409, body: { code: 'VOLUME_IN_USE', sandboxes: [created.body.id] } })
  })
})
