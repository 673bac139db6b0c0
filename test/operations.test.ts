import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { ModalClient } from 'modal'
import t from 'tap'
import { withModalServer } from '../config.js'
import { Readiness } from '../services/sandboxes/readiness.js'
import { noBrowser, openBrowser, openPage } from './helpers/browser.js'
import { routesOf } from './helpers/routes.js'
import { skip, startService } from './helpers/service.js'

t.test('What operators of the service ask it', { skip }, async (t) => {
  const service = await startService()
  t.teardown(service.close)
  const get = async (url: string) => await service.request(url, { as: null })

  await t.test('It is alive, and ready as long as Modal answers', async (t) => {
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
    t.equal(asked, 1, 'however many ask')

    const closed = createServer().listen(0, '127.0.0.1')
    await once(closed, 'listening')
    const url = `http://127.0.0.1:${(closed.address() as AddressInfo).port}`
    closed.close()
    const logger = { debug () {}, info () {}, warn () {}, error () {} }
    const away = withModalServer(url, () => new ModalClient({ tokenId: 'a', tokenSecret: 'b', logger }))
    const began = performance.now()
    await t.rejects(new Readiness(away).check(), { code: 'MODAL_UNAVAILABLE', statusCode: 503, headers: { 'retry-after': '5' } })
    t.ok(performance.now() - began < 4000)
    away.close()
  })

  await t.test('Metrics tell of answers by route, and of no account', async (t) => {
    await service.request('/api/modal/sandbox/sb-none')
    const text = await (await get('/metrics')).text()
    t.match(text, /http_request_duration_seconds_count\{method="GET",route="\/api\/modal\/sandbox\/:id",status="404"\} 1\n/)
    t.match(text, /modal_sandbox_open_streams 0\n/)
    t.match(text, /process_resident_memory_bytes \d/)
    service.app.metrics.reaped('overdue')
    t.match(await (await get('/metrics')).text(), /modal_sandbox_reaped_total\{reason="overdue"\} 1\n/)
    t.notMatch(text, 'sb-none')
  })

  await t.test('The API\'s description has every route, and all it refers to', async (t) => {
    const description = await (await get('/openapi.json')).json() as any
    const described = Object.entries<object>(description.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path.replace(/(?<=.)\/$/, '').replace(/\{(\w+)\}/g, ':$1')}`))
    const routes = routesOf(service.app).filter((route) => !/ (\/docs.*|\/metrics|\/openapi\.json|.*\*)$/.test(route))
    t.strictSame([...new Set(described)].toSorted(), routes.toSorted())
    const create = description.paths['/api/modal/sandbox'] ?? description.paths['/api/modal/sandbox/']
    t.match(create.post.requestBody.content['application/json'].schema.properties, { image: Object, volume: Object })
    t.match(JSON.stringify(description), /"code"/)
    t.notMatch(JSON.stringify(description), /"\$ref":"(?!#\/components)/)
  })

  await t.test('Its page works in a browser under the content security policy', { skip: noBrowser }, async (t) => {
    const browser = await openBrowser()
    t.teardown(() => browser.close())
    const { page, problems } = await openPage(browser, service.url)
    await page.goto(`${service.url}/docs`)
    await page.getByText('/api/modal/sandbox/{id}/exec').first().waitFor()
    t.strictSame(problems, [])
  })
})
