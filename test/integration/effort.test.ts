import t from 'tap'
import { startScriptedModel } from '../../emulator/model/index.js'
import { create, json, read } from '../helpers/asking.js'
import { skip, startService } from '../helpers/service.js'

t.test('Model and effort of a run', { skip: skip || (process.env.TEST_LIVE === '1' && 'needs a model of its own') }, async (t) => {
  const model = await startScriptedModel()
  const service = await startService({ ANTHROPIC_API_KEY: model.apiKey, ANTHROPIC_BASE_URL: model.url })
  t.teardown(async () => {
    await service.close()
    await model.close()
  })
  const { request } = service
  const path = `/api/modal/sandbox/${await create(request)}/claude`
  const start = async (body: object) => await request(path, { method: 'POST', json: { prompt: 'Hello', ...body } })

  await t.test('Both reach the model, as its latest version', async (t) => {
    for (const [asked, found] of [['sonnet', /^claude-sonnet-/], ['opus', /^claude-opus-/], ['fable', /^claude-fable-/], ['haiku', /^claude-haiku-/]] as const) {
      const received = await read(await start({ model: asked, effort: 'low' }))
      t.match(received.at(-1)!.data, { outcome: 'result' }, asked)
      t.match(model.requests.at(-1)!.model, found)
    }
    for (const effort of ['low', 'medium', 'high', 'xhigh', 'max']) {
      t.match((await read(await start({ model: 'opus', effort }))).at(-1)!.data, { outcome: 'result' }, effort)
      t.equal(model.requests.at(-1)!.effort, effort)
    }
  })

  await t.test('Without them the CLI decides', async (t) => {
    t.match((await read(await start({}))).at(-1)!.data, { outcome: 'result' })
    t.match(model.requests.at(-1), { model: /^claude-/ })
  })

  await t.test('What is none is refused by the name of the field, and nothing starts', async (t) => {
    const before = model.requests.length
    for (const effort of ['', 'huge', 'high --dangerously-skip-permissions', '--help', 3, null, ['high']]) {
      t.match(await json(start({ effort })), { statusCode: 400, code: 'BAD_REQUEST', message: /body\/effort|body\.effort/ }, JSON.stringify(effort))
    }
    for (const odd of ['--help', '', 'a b', "a'b", 'x'.repeat(201)]) {
      t.match(await json(start({ model: odd })), { statusCode: 400, message: /body\/model|body\.model/ }, odd)
    }
    t.equal(model.requests.length, before)
  })
})
