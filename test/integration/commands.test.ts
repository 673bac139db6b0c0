import t from 'tap'
import { readSse, skip, startService, type ReceivedEvent } from '../helpers/service.js'

t.test('Commands of the CLI', { skip: skip || (process.env.TEST_LIVE === '1' && 'counts on the scripted model') }, async (t) => {
  const service = await startService({})
  t.teardown(service.close)
  const created = await (await service.request('/api/modal/sandbox', { method: 'POST', json: { volume: { name: 'work' } } })).json() as { id: string }
  const path = `/api/modal/sandbox/${created.id}`
  await service.request(`${path}/files/content?path=.claude/commands/x.md`, {
    method: 'PUT', body: 'Greet $ARGUMENTS as the project says.', headers: { 'content-type': 'application/octet-stream' }
  })
  const run = async (prompt: string, body: object = {}) => {
    const response = await service.request(`${path}/claude`, { method: 'POST', json: { prompt, literal: false, ...body } })
    if (!response.ok) throw new Error(await response.text())
    const events: ReceivedEvent[] = []
    for await (const event of readSse(response)) events.push(event)
    return { text: JSON.stringify(events), completion: events.at(-1)!.data }
  }
  const free = { outcome: 'result', costUsd: 0, exitCode: 0 }
  let sessionId = ''

  await t.test('What the CLI answers itself is a result that costs nothing', async (t) => {
    const cost = await run('/cost')
    t.match(cost.completion, free)
    t.match(cost.text, /Total duration/)
    sessionId = cost.completion.sessionId
    const context = await run('/context', { sessionId, permissionMode: 'ask' })
    t.match(context.completion, { ...free, sessionId }, 'also where somebody answers')
    t.match(context.text, /Context Usage/)
    const help = await run('/help', { sessionId })
    t.match(help.completion, { ...free, sessionId })
    t.match(help.text, /\/help isn't available/)
    const words = await run('/cost', { sessionId, outputFormat: 'text' })
    t.equal(words.completion.outcome, 'result')
    t.match(words.text, /Total duration/)
  })

  await t.test('What it does not know is a prompt, a command of the project its text, and a literal slash a slash', async (t) => {
    for (const [prompt, body, sent] of [
      ['/foo bar', {}, /> \/foo bar/],
      ['/x the world', {}, /> Greet the world as the project says\./],
      ['/cost', { literal: true }, /> \/cost/]
    ] as const) {
      const { text, completion } = await run(prompt, { sessionId, ...body })
      t.match(completion, { outcome: 'result', sessionId })
      t.match(text, sent)
    }
  })

  await t.test('A conversation is compacted, and is the same one', async (t) => {
    const { text, completion } = await run('/compact', { sessionId })
    t.match(completion, { outcome: 'result', sessionId })
    t.match(text, /compact_boundary/)
    const { messages } = await (await service.request(`${path}/sessions/${sessionId}`)).json() as { messages: unknown[] }
    t.match(JSON.stringify(messages), /Greet the world/)
    t.notMatch(JSON.stringify(messages), /This session is being continued/, 'its summary is for Claude')
  })

  await t.test('After /clear the run names the conversation that it has begun, which goes on and has its own title', async (t) => {
    for (const permissionMode of ['bypassPermissions', 'ask']) {
      const { completion } = await run('/clear', { sessionId, permissionMode })
      t.match(completion, free)
      t.not(completion.sessionId, sessionId)
      sessionId = completion.sessionId
    }
    const next = await run('/x again', { sessionId })
    t.match(next.completion, { outcome: 'result', sessionId })
    const { runs } = await (await service.request(`${path}/claude`)).json() as { runs: { sessionId: string }[] }
    t.strictSame(runs.slice(0, 2).map((seen) => seen.sessionId), [sessionId, sessionId])
    const { sessions } = await (await service.request(`${path}/sessions`)).json() as { sessions: { sessionId: string, title: string }[] }
    t.match(sessions[0], { sessionId, title: '/x again' })
    t.match(sessions.at(-1), { title: '/usage' }, 'the CLI\'s own name of /cost')
  })
})
