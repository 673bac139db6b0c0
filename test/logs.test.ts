import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { buildApp } from '../app.js'
import { parseConfig } from '../config.js'
import { removeTree } from '../emulator/container/host.js'
import { digest, randomId } from '../lib/ids.js'

const info = 30

t.test('The life of a sandbox is in the log', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'logs-test-'))
  const key = randomId('key')
  const lines: Record<string, any>[] = []
  const app = await buildApp(
    parseConfig({ DATA_DIR: dataDir, ACCOUNTS: JSON.stringify([{ id: 'acme', apiKeys: [`sha256:${digest(key)}`] }]) }),
    { level: 'info', stream: { write: (line: string) => { lines.push(JSON.parse(line)) } } })
  t.teardown(async () => {
    await app.close()
    await removeTree(dataDir)
  })
  // Claude reaches the model through the service.
  await app.listen({ host: '127.0.0.1', port: 0 })
  const request = async (method: 'POST' | 'DELETE', url: string, payload?: object, accept = 'application/json') => {
    const response = await app.inject({ method, url, payload, headers: { 'x-api-key': key, accept } })
    t.equal(response.statusCode, 200, `${method} ${url}`)
    return response
  }
  const path = '/api/modal/sandbox'
  const { id } = (await request('POST', path, { volume: { name: 'work' } })).json()
  await request('POST', `${path}/${id}/exec`, { command: ['true'] })
  const run = await request('POST', `${path}/${id}/claude`, { prompt: 'hello' }, 'text/event-stream')
  const runId = /run_\w+/.exec(run.body)![0]
  await request('DELETE', `${path}/${id}`)
  const line = (message: string) => lines.find(({ msg }) => msg === message)

  await t.test('Operations that succeed are logged at info level (10.3)', async (t) => {
    for (const msg of ['sandbox created', 'exec started', 'exec ended', 'run started', 'model request', 'run completed', 'sandbox terminated']) {
      t.equal(line(msg)?.level, info, msg)
    }
    t.strictSame(lines.filter(({ level, reqId }) => reqId !== undefined && level > info), [], 'nothing louder')
  })

  await t.test('What is created is logged with its id, and its request\'s (10.5)', async (t) => {
    t.match(line('sandbox created'), { sandboxId: id, volume: String, reqId: /^req_/, accountId: 'acme' })
    t.match(line('exec started'), { sandboxId: id, execId: String, reqId: /^req_/, accountId: 'acme' })
    t.match(line('run started'), { sandboxId: id, runId, accountId: 'acme' })
    t.match(line('model request'), { sandboxId: id, runId, accountId: 'acme', statusCode: 200, model: String, costUsd: Number })
  })
})
