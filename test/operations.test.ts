import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { ModalClient } from 'modal'
import t from 'tap'
import { withModalServer } from '../config.js'
import { appName } from '../services/modal/names.js'
import { Readiness } from '../services/sandboxes/readiness.js'
import { encodeTags } from '../services/sandboxes/tags.js'
import { noBrowser, openBrowser, openPage } from './helpers/browser.js'
import { ownTime } from './helpers/own-time.js'
import { routesOf } from './helpers/routes.js'
import { accountIds, skip, startService } from './helpers/service.js'

t.test('Health, metrics and the API description', { skip }, async (t) => {
  const service = await startService({ REAPER_INTERVAL_MS: '1000', TRUST_PROXY: 'loopback' })
  t.teardown(service.close)
  const get = async (url: string) => await service.request(url, { as: null })

  await t.test('It is live, and ready while Modal answers', async (t) => {
    for (const url of ['/healthz', '/readyz']) t.strictSame(await (await get(url)).json(), { status: 'ok' })
    const { client } = service.app.modal
    let asked = 0
    const { fromName } = client.apps
    client.apps.fromName = async (...args) => {
      asked++
      return await fromName.apply(client.apps, args)
    }
    const readiness = new Readiness(client)
    await Promise.all([readiness.check(), readiness.check(), readiness.check()])
    client.apps.fromName = fromName
    t.equal(asked, 1, 'concurrent checks share one request')

    const closed = createServer().listen(0, '127.0.0.1')
    await once(closed, 'listening')
    const url = `http://127.0.0.1:${(closed.address() as AddressInfo).port}`
    closed.close()
    const logger = { debug () {}, info () {}, warn () {}, error () {} }
    const offline = withModalServer(url, () => new ModalClient({ tokenId: 'a', tokenSecret: 'b', logger }))
    const time = ownTime()
    await t.rejects(new Readiness(offline).check(), { code: 'MODAL_UNAVAILABLE', statusCode: 503, headers: { 'retry-after': '5' } })
    t.ok(time.stop() < 4000)
    offline.close()
  })

  await t.test('Metrics count responses by route and name no account', async (t) => {
    await service.request('/api/modal/sandbox/sb-none')
    const text = await (await get('/metrics')).text()
    t.match(text, /http_request_duration_seconds_count\{method="GET",route="\/api\/modal\/sandbox\/:id",status="404"\} 1\n/)
    t.match(text, /modal_sandbox_open_streams 0\n/)
    t.match(text, /process_resident_memory_bytes \d/)
    t.notMatch(text, 'sb-none')
  })

  await t.test('The reaper runs at its interval and counts what it terminates', async (t) => {
    const { client, backend } = service.app.modal
    const app = await client.apps.fromName(appName(accountIds.alice), { createIfMissing: true })
    const image = await client.images.fromRegistry(backend === 'local' ? 'local' : 'debian:12-slim').build(app)
    const past = '2020-01-01T00:00:00.000Z'
    const left = await client.sandboxes.create(app, image, {
      timeoutMs: 300_000,
      tags: encodeTags({
        owner: app.name!,
        deployment: service.config.deployment,
        createdAt: past,
        expiresAt: past,
        image: 'x',
        workdir: '/',
        request: 'x',
        tags: {}
      })
    })
    t.equal(await left.wait(), 137)
    let text = ''
    for (let tries = 0; tries < 50 && !text.includes('overdue'); tries++) text = await (await get('/metrics')).text()
    t.match(text, /modal_sandbox_reaped_total\{reason="overdue"\} 1\n/)
  })

  await t.test('A trusted proxy determines the address of a client', async (t) => {
    const from = async (address: string) => {
      const { headers } = await service.request('/healthz', { as: null, headers: { 'x-forwarded-for': address } })
      return headers.get('x-ratelimit-remaining')
    }
    t.strictSame([await from('192.0.2.1'), await from('192.0.2.1'), await from('192.0.2.2')], ['2999', '2998', '2999'])
  })

  await t.test('The OpenAPI description has every route, and its references resolve', async (t) => {
    const description = await (await get('/openapi.json')).json() as any
    const described = Object.entries<object>(description.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path.replace(/(?<=.)\/$/, '').replace(/\{(\w+)\}/g, ':$1')}`))
    const routes = routesOf(service.app).filter((route) => !/ (\/docs.*|\/model\/.*|\/metrics|\/openapi\.json|\/|.*\.html|.*\*)$/.test(route))
    t.strictSame([...new Set(described)].toSorted(), routes.toSorted())
    const create = description.paths['/api/modal/sandbox']
    t.match(create.post.requestBody.content['application/json'].schema.properties, { image: Object, volume: Object })
    t.match(JSON.stringify(description), /"code"/)
    t.notMatch(JSON.stringify(description), /"\$ref":"(?!#\/components)/)
  })

  await t.test('Swagger UI works in a browser under the content security policy', { skip: noBrowser }, async (t) => {
    const browser = await openBrowser()
    t.teardown(() => browser.close())
    const { page } = await openPage(t, browser, service.url)
    await page.goto(`${service.url}/docs`)
    await page.getByText('/api/modal/sandbox/{id}/exec').first().waitFor()
  })
})
