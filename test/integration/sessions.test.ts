import t from 'tap'
import { bash, client, create, exec, json, read, scripted, settled } from '../helpers/asking.js'
import { skip, startService } from '../helpers/service.js'

const home = '/workspace/.claude-sandbox'

t.test('Conversations', { skip }, async (t) => {
  const service = await startService()
  t.teardown(service.close)
  const { request } = service
  const id = await create(request)
  const runs = client(request, id)
  const path = `/api/modal/sandbox/${id}/sessions`
  const say = async (prompt: string, more: object = {}) => {
    const events = await read(await runs.start({ prompt, permissionMode: 'bypassPermissions', ...more }))
    return { runId: events[0]!.data.runId as string, sessionId: events.at(-1)!.data.sessionId as string }
  }
  const list = async (): Promise<any[]> => (await json(request(path))).sessions
  const listedRuns = async (): Promise<string[]> => (await json(request(runs.path))).runs.map(({ runId }: any) => runId)
  const rename = async (sessionId: string, title: unknown) => {
    const response = await request(`${path}/${sessionId}`, { method: 'PATCH', json: { title } })
    return { status: response.status, body: await response.json() as any }
  }
  const remove = async (sessionId: string) => {
    const response = await request(`${path}/${sessionId}`, { method: 'DELETE' })
    return { status: response.status, body: await response.json() as any }
  }
  const first = await say(scripted([{ tool: 'Write', input: { file_path: '/workspace/kept.txt', content: 'kept' } }], [{ text: 'One.' }]))
  const more = await say(scripted([{ text: 'Two.' }]), { sessionId: first.sessionId })
  const second = await say(scripted([{ text: 'Three.' }]))

  await t.test('A name is kept beside the conversation; without one it is the beginning of the first prompt', async (t) => {
    t.match(await list(), [{ sessionId: second.sessionId }, { sessionId: first.sessionId, title: /^Please/ }])
    const updated = (await list())[1].updatedAt
    const title = 'Größe & "quotes" \\ 日本'
    t.strictSame(await rename(first.sessionId, ` ${title} `), { status: 200, body: { sessionId: first.sessionId, title } })
    const renamed = (await list())[1]
    t.match(renamed, { title, updatedAt: updated }, 'which is no activity in it')
    t.match(await rename(first.sessionId, null), { status: 200, body: { title: null } })
    t.match((await list())[1], { title: /^Please/ })
  })

  await t.test('What is no name, and what is no conversation, is refused', async (t) => {
    for (const title of ['', '  ', 'a\nb', 'x'.repeat(101), 7, undefined]) {
      t.match(await rename(first.sessionId, title), { status: 400, body: { code: 'BAD_REQUEST', message: /body\.title/ } })
    }
    for (const unknown of ['00000000-0000-4000-8000-000000000000', '..x', 'x']) {
      const missing = { status: 404, body: { code: 'SESSION_NOT_FOUND' } }
      t.match(await rename(encodeURIComponent(unknown), 'x'), missing)
      t.match(await remove(encodeURIComponent(unknown)), missing)
    }
  })

  await t.test('A fork begins with what was said up to a message, and leaves the other conversation as it is', async (t) => {
    const messages = async (sessionId: string): Promise<any[]> => (await json(request(`${path}/${sessionId}`))).messages
    const before = await messages(first.sessionId)
    const at = before.findLast(({ type, time }) => type === 'assistant' && time < before.at(-2).time).id
    const kept = before.slice(0, before.findIndex(({ id }) => id === at) + 1)
    const ownId = '4d0b5c5e-32a7-4b9e-8a55-0d5f6f0d9a01'
    const prompt = `Another way\n${scripted([{ text: 'Four.' }])}`
    const fork = await say(prompt, { fork: { sessionId: first.sessionId, at }, sessionId: ownId })
    t.equal(fork.sessionId, ownId)
    const forked = await messages(fork.sessionId)
    t.strictSame(forked.map(({ id }) => id).slice(0, kept.length), kept.map(({ id }) => id))
    t.match(forked.slice(kept.length), [{ message: { content: prompt } }, { message: { content: [{ text: 'Four.' }] } }])
    t.strictSame(await messages(first.sessionId), before)
    t.match(await list(), [{ sessionId: fork.sessionId, title: 'Another way' }])
    const whole = await say(scripted([{ text: 'Five.' }]), { fork: { sessionId: first.sessionId } })
    t.equal((await messages(whole.sessionId)).length, before.length + 2, 'without a message it begins with all of them')
    t.strictSame((await remove(fork.sessionId)).body.runs, [fork.runId])
    await remove(whole.sessionId)
  })

  await t.test('A fork of what is not there is refused, and nothing of its run is left', async (t) => {
    const unknown = '00000000-0000-4000-8000-000000000000'
    const before = await listedRuns()
    const refused = async (fork: object) => {
      const response = await runs.start({ prompt: 'Hello', ...fork })
      return { status: response.status, body: await response.json() }
    }
    t.match(await refused({ fork: { sessionId: unknown } }), { status: 404, body: { code: 'SESSION_NOT_FOUND', message: /body\.fork/ } })
    const noMessage = { status: 400, body: { code: 'BAD_REQUEST', message: /body\.fork\.at/ } }
    t.match(await refused({ fork: { sessionId: first.sessionId, at: unknown } }), noMessage)
    const taken = { status: 400, body: { code: 'BAD_REQUEST', message: /body\.sessionId/ } }
    t.match(await refused({ fork: { sessionId: first.sessionId }, sessionId: second.sessionId }), taken)
    t.strictSame(await listedRuns(), before)
  })

  await t.test('While a run of it goes on, a conversation is not deleted; another one is', async (t) => {
    const third = await say(scripted([{ text: 'Four.' }]))
    const prompt = scripted([bash('until [ -e /tmp/go ]; do sleep 0.2; done; echo > /workspace/late.txt')], [{ text: 'Five.' }])
    const spec = { prompt, sessionId: second.sessionId, permissionMode: 'bypassPermissions', onDisconnect: 'continue' }
    const { runId } = await json(runs.start(spec, { headers: { prefer: 'respond-async' } }))
    t.match(await remove(second.sessionId), { status: 409, body: { code: 'RUN_ACTIVE', runId, message: /working in this conversation/ } })
    t.match(await rename(second.sessionId, 'Busy'), { status: 200 })
    const { sessionId } = third
    t.strictSame(await remove(sessionId), { status: 200, body: { sessionId, runs: [third.runId] } })
    await exec(request, id, 'touch /tmp/go')
    t.match((await settled(request, `${runs.path}/${runId}`)).completion, { outcome: 'result', sessionId: second.sessionId })
    t.match(await list(), [{ sessionId: second.sessionId, title: 'Busy' }, { sessionId: first.sessionId }])
  })

  await t.test('A conversation is deleted with its runs and all that the CLI keeps of it, and nothing else', async (t) => {
    await exec(request, id, `mkdir -p ${home}/file-history/${first.sessionId}; ln -s /workspace ${home}/runs/run_${'a'.repeat(20)}`)
    await rename(first.sessionId, 'Old')
    const find = `cd ${home}; find . -path ./plugins -prune -o -path ./backups -prune -o -print`
    const tree = async () => (await exec(request, id, find)).trim().split('\n')
    const content = async () => await exec(request, id, 'cd /workspace; for f in *; do echo "$f"; cat "$f"; done')
    const before = await tree()
    const work = await content()
    t.match(work, /kept/)
    t.ok((await listedRuns()).includes(more.runId))
    t.match(await remove(first.sessionId), { status: 200, body: { runs: { length: 2 } } })
    const after = await tree()
    const about = [first.sessionId, first.runId, more.runId]
    const gone = before.filter((file) => !after.includes(file))
    t.strictSame(gone, before.filter((file) => about.some((one) => file.includes(one))))
    t.strictSame(after.filter((file) => !before.includes(file)), [])
    t.equal(await content(), work)
    t.match(await list(), [{ sessionId: second.sessionId }])
    t.equal((await list()).length, 1)
    t.notMatch(await listedRuns(), [first.runId])
    t.equal((await request(`${path}/${first.sessionId}`)).status, 404)
    t.equal((await request(`${runs.path}/${first.runId}`)).status, 404)
    t.match(await remove(first.sessionId), { status: 404 })
    t.match(await say(scripted([{ text: 'Six.' }]), { sessionId: second.sessionId }), { sessionId: second.sessionId }, 'runs go on')
  })

  await t.test('The next sandbox on the volume has the names, and nothing of what was deleted', async (t) => {
    await rename(second.sessionId, 'Kept')
    await request(`/api/modal/sandbox/${id}`, { method: 'DELETE' })
    const next = `/api/modal/sandbox/${await create(request)}`
    t.strictSame((await json(request(`${next}/sessions`))).sessions.map(({ sessionId, title }: any) => [sessionId, title]), [[second.sessionId, 'Kept']])
    const { runs: left } = await json(request(`${next}/claude`))
    t.strictSame([...new Set(left.map(({ sessionId }: any) => sessionId))], [second.sessionId])
  })
})
