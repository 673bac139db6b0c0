import t from 'tap'
import { eventually } from '../helpers/containers.js'
import { skip, startService } from '../helpers/service.js'

const sandboxes = '/api/modal/sandbox'

t.test('ports', { skip }, async (t) => {
  const service = await startService()
  t.teardown(async () => service.close())
  const create = async (json: object = {}) => {
    const response = await service.request(sandboxes, { method: 'POST', json })
    return (await response.json() as { id: string }).id
  }
  const id = await create()
  const list = async (of = id) => {
    const { ports } = await (await service.request(`${sandboxes}/${of}/ports`)).json() as { ports: Array<{ port: number }> }
    return ports.map(({ port }) => port)
  }
  const access = async (port: number | string, of = id) => {
    const response = await service.request(`${sandboxes}/${of}/ports/${port}`, { method: 'POST' })
    return { status: response.status, cache: response.headers.get('cache-control'), body: await response.json() as any }
  }
  const serve = (text: string, port: number) => ['sh', '-c', `node -e "
    require('http').createServer((request, answer) => answer.end('${text} ' + request.url + ' ' + Object.keys(request.headers)))
      .listen(${port}, '127.0.0.1')" > /dev/null 2>&1 &`]
  const exec = async (command: string[], of = id) => await service.request(`${sandboxes}/${of}/exec`, {
    method: 'POST', json: { command }, headers: { accept: 'application/json' }
  })

  await t.test('What begins to listen is listed, and reached with a link or a token, by nobody else', async (t) => {
    t.strictSame(await list(), [])
    await exec(serve('hello', 4321))
    t.ok(await eventually(async () => (await list()).includes(4321)))
    t.strictSame(await list(), [4321])
    const { status, cache, body } = await access(4321)
    t.equal(status, 200)
    t.equal(cache, 'no-store')
    t.equal(body.port, 4321)
    const opened = await fetch(body.link)
    const text = await opened.text()
    t.match(text, /^hello \/ /)
    t.notMatch(text, body.token)
    t.match(opened.headers.get('set-cookie'), /HttpOnly/, 'a browser keeps it for further requests')
    t.match(await (await fetch(`${body.url}/path?a=1`, { headers: { authorization: `Bearer ${body.token}` } })).text(), /^hello \/path\?a=1 /)
    t.equal((await fetch(body.url)).status, 401)
  })

  await t.test('A port where nothing listens gives no answer; one that is none is refused', async (t) => {
    const { body } = await access(4322)
    t.equal((await fetch(body.link)).status, 502)
    for (const wrong of ['0', '65536', 'x', '1.5']) {
      const { status, body } = await access(wrong)
      t.match({ status, ...body }, { status: 400, code: 'BAD_REQUEST', message: /^params\.port / }, wrong)
    }
  })

  await t.test('A sandbox without a network has no ports for others, and one that has ended none at all', async (t) => {
    const blocked = await create({ network: { block: true } })
    t.match(await access(4321, blocked), { status: 400, body: { code: 'NETWORK_BLOCKED' } })
    await service.request(`${sandboxes}/${blocked}`, { method: 'DELETE' })
    t.match(await access(4321, blocked), { status: 409, body: { code: 'SANDBOX_ENDED' } })
    t.equal((await service.request(`${sandboxes}/${blocked}/ports`)).status, 409)
  })
})
