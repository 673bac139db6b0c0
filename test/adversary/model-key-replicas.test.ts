import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { startScriptedModel } from '../../emulator/model/index.js'
import { freePort } from '../helpers/port.js'
import { skip } from '../helpers/service.js'
import { openStage, type Replica } from '../helpers/stage.js'

t.test('Every replica lets in a token while its run goes on, and none after', {
  skip: skip || (process.env.TEST_LIVE === '1' && 'needs the emulator')
}, async (t) => {
  const model = await startScriptedModel()
  const port = await freePort()
  const stage = await openStage({
    PUBLIC_URL: `http://127.0.0.1:${port}`, ANTHROPIC_BASE_URL: model.url, ANTHROPIC_API_KEY: model.apiKey
  })
  t.teardown(async () => {
    await stage.close()
    await model.close()
  })
  const [one, other] = await Promise.all([stage.startReplica({ PORT: String(port) }), stage.startReplica()])
  const path = '/api/modal/sandbox'
  const env = { PATH: '/workspace/bin:/usr/local/bin:/usr/bin:/bin' }
  let { id } = await (await one.request(path, { json: { env } })).json() as { id: string }
  const exec = async (script: string) => {
    const json = { command: ['sh', '-c', script] }
    const response = await one.request(`${path}/${id}/exec`, { json, headers: { accept: 'application/json' } })
    return (await response.json() as { stdout: string }).stdout
  }
  const prepare = async () => await exec('mkdir -p bin; printf \'#!/bin/sh\\nbase64 -w0 <&3 > token.new; mv token.new token; sleep 300\\n\' > bin/claude; chmod +x bin/claude')
  await prepare()
  const start = async () => {
    await exec('rm -f token')
    const response = await one.request(`${path}/${id}/claude`, { json: { prompt: 'x', onDisconnect: 'continue' }, headers: { prefer: 'respond-async' } })
    const { runId } = await response.json() as { runId: string }
    let text = ''
    while (text === '') text = await exec('cat token 2>/dev/null')
    return { runId, token: Buffer.from(text, 'base64').toString().trim() }
  }
  const ask = async (replica: Replica, token: string) => {
    const json = { model: 'claude-opus-5-5', max_tokens: 10, messages: [{ role: 'user', content: 'hello' }] }
    const response = await fetch(`${replica.url}/model/v1/messages`, {
      method: 'POST', headers: { 'x-api-key': token, 'content-type': 'application/json' }, body: JSON.stringify(json)
    })
    await response.text()
    return response.status
  }

  const first = await start()
  t.strictSame([await ask(one, first.token), await ask(other, first.token)], [200, 200])
  const cancelled = await (await one.request(`${path}/${id}/claude/${first.runId}/cancel`, { method: 'POST' })).json() as any
  t.match(cancelled, { completion: { costSource: 'gateway', costUsd: Number } })
  t.ok(cancelled.completion.costUsd > 0, 'what Claude itself never told')
  t.equal(await ask(one, first.token), 401, 'at once where it ran')
  while (await ask(other, first.token) === 200) await sleep(200)
  t.equal(await ask(other, first.token), 401)

  const second = await start()
  t.equal(await ask(one, first.token), 401, 'nor for a later run')
  t.equal(await ask(other, second.token), 200)
  await one.request(`${path}/${id}`, { method: 'DELETE' })
  t.equal(await ask(one, second.token), 401)
  while (await ask(other, second.token) === 200) await sleep(200)
  t.pass('nor when its sandbox has ended')

  const created = await one.request(path, { json: { env } })
  id = (await created.json() as { id: string }).id
  await prepare()
  const third = await start()
  t.equal(await ask(other, third.token), 200)
  await one.kill()
  t.equal(await ask(other, third.token), 200, 'its replica has died, and it goes on')
  const next = await stage.startReplica()
  await other.request(`${path}/${id}/claude/${third.runId}/cancel`, { method: 'POST' })
  t.equal(await ask(other, third.token), 401, 'at once where its end was proven')
  while (await ask(next, third.token) === 200) await sleep(200)
  t.equal(await ask(next, third.token), 401, 'then everywhere')
  t.notOk(model.requests.some(({ keyMatched }) => !keyMatched))
})
