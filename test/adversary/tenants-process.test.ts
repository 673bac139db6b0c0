import { once } from 'node:events'
import { mkdtemp } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ModalClient, type Sandbox } from 'modal'
import { SignJWT } from 'jose'
import t from 'tap'
import { withModalServer } from '../../config.js'
import { removeTree } from '../../emulator/container/host.js'
import { startScriptedModel } from '../../emulator/model/index.js'
import { digest, randomId } from '../../lib/ids.js'
import { Reaper } from '../../services/sandboxes/reaper.js'
import { decodeTags } from '../../services/sandboxes/tags.js'
import { startEmulatorProcess, startServiceProcess } from '../helpers/processes.js'
import { readSse } from '../helpers/sse.js'

/** How many creates are interrupted; many more than the default take minutes. */
const interruptions = Number(process.env.INTERRUPTED_CREATES ?? 20)
const path = '/api/modal/sandbox'
const silent = { debug () {}, info () {}, warn () {}, error () {} }

t.test('The service as a process of its own, a client of the emulator', async (t) => {
  const secret = (name: string) => randomId(`secret-${name}`)
  const apiKey = secret('key')
  const jwtSecret = secret('jwt').padEnd(40, 'x')
  const named = secret('named')
  const dataDir = await mkdtemp(join(tmpdir(), 'tenants-'))
  const { emulator, modal } = await startEmulatorProcess(dataDir, {
    LOG_LEVEL: 'trace', EMULATOR_SECRETS: JSON.stringify({ 'test-one': { NAMED: named } })
  })
  const model = await startScriptedModel()
  const env = {
    ...modal,
    LOG_LEVEL: 'trace',
    DATA_DIR: dataDir,
    JWT_SECRET: jwtSecret,
    ANTHROPIC_API_KEY: model.apiKey,
    ANTHROPIC_BASE_URL: model.url,
    ACCOUNTS: JSON.stringify([{
      id: 'acme', apiKeys: [`sha256:${digest(apiKey)}`], secrets: ['test-*'], limits: { sandboxes: 1000, gpus: ['T4'], requestsPerMinute: 100_000 }
    }])
  }
  let service = await startServiceProcess(env)
  const client = withModalServer(modal.MODAL_SERVER_URL, () => new ModalClient({
    tokenId: modal.MODAL_TOKEN_ID!, tokenSecret: modal.MODAL_TOKEN_SECRET!, logger: silent
  }))
  t.teardown(async () => {
    client.close()
    await service.stop('SIGKILL')
    await emulator.stop()
    await model.close()
    await removeTree(dataDir)
  })

  async function request (url: string, { json, ...init }: RequestInit & { json?: unknown } = {}) {
    const headers = { 'x-api-key': apiKey, ...(json !== undefined && { 'content-type': 'application/json' }), ...init.headers }
    const body = json === undefined ? init.body : JSON.stringify(json)
    return await fetch(service.url + url, { ...init, method: init.method ?? (body ? 'POST' : 'GET'), headers, ...(body && { body }) })
  }
  const ask = async (...args: Parameters<typeof request>) => {
    const response = await request(...args)
    return { status: response.status, body: await response.json() as any }
  }
  const atProvider = async () => {
    const found: Sandbox[] = []
    for await (const sandbox of client.sandboxes.list({})) found.push(sandbox)
    return found
  }
  const listed = async () => {
    const ids: string[] = []
    for (let cursor = ''; ;) {
      const { body } = await ask(`${path}?limit=100${cursor}`)
      ids.push(...body.sandboxes.map(({ id }: { id: string }) => id))
      if (body.nextCursor === null) return ids
      cursor = `&cursor=${body.nextCursor}`
    }
  }

  await t.test(`${interruptions} creates, interrupted at any moment, leave no untracked sandbox`, async (t) => {
    // The first one takes longer than all that follow.
    await ask(path, { json: {} })
    const started = performance.now()
    await ask(path, { json: {} })
    const usual = performance.now() - started
    const keyed: { key: string, json: object }[] = []
    let sent = 0
    let interrupted = 0
    const kinds = [{}, { volume: { name: 'work' } }, { workdir: '/srv/a/b' }, { workdir: '/etc/passwd/x' }]
    for (let round = 0; interrupted < interruptions; round++) {
      const left = new AbortController()
      const creates = Array.from({ length: 5 }, async () => {
        const json = { ...kinds[sent++ % kinds.length], tags: { round: String(round) } }
        const key = randomId('order')
        const withKey = sent % 2 === 0
        if (withKey) keyed.push({ key, json })
        const headers: Record<string, string> = withKey ? { 'idempotency-key': key } : {}
        await request(path, { json, headers, signal: left.signal }).catch(() => { interrupted++ })
      })
      await sleep(Math.random() * 2 * usual)
      if (round % 2 === 0) {
        await service.stop('SIGKILL')
        service = await startServiceProcess(env)
      } else {
        left.abort()
      }
      await Promise.all(creates)
    }
    t.comment(`${sent} sent, ${interrupted} of them interrupted`)

    // Creates continue for a moment after their client has left.
    let known: string[] = []
    let real: Sandbox[] = []
    for (let tries = 0, same = 0; tries < 100 && same < 5; tries++) {
      await sleep(200)
      ;[real, known] = await Promise.all([atProvider(), listed()])
      const ids = real.map(({ sandboxId }) => sandboxId).toSorted()
      same = JSON.stringify(ids) === JSON.stringify(known.toSorted()) ? same + 1 : 0
    }
    t.strictSame(real.map(({ sandboxId }) => sandboxId).toSorted(), known.toSorted(), 'the account sees every sandbox that Modal has')
    t.ok(real.length > 0 && real.length <= sent + 2)

    const records = async () =>
      await Promise.all((await atProvider()).map(async (sandbox) => decodeTags(await sandbox.getTags())!))
    const preparing = async () => (await records()).filter((record) => record.preparing !== undefined).length
    t.comment(`${real.length} sandboxes, ${await preparing()} of them unfinished`)
    // A request repeated with its key gets the one sandbox, complete.
    for (const { key, json } of keyed) {
      const { status, body } = await ask(path, { json, headers: { 'idempotency-key': key } })
      if ('workdir' in json && json.workdir === '/etc/passwd/x') t.equal(status, 422)
      else t.equal(status, 200, JSON.stringify(body))
    }
    const used = (await records()).map(({ key }) => key).filter((key) => key !== undefined)
    t.equal(new Set(used).size, used.length, 'no key has two sandboxes')

    const reaper = new Reaper({
      client, log: silent, deployment: 'modal-sandbox', mayOwn: () => true, now: () => Date.now() + 10 * 60_000
    })
    const unfinished = await preparing()
    t.equal((await reaper.sweep()).length, unfinished, `${unfinished} that were not requested again are reaped`)
    const left = await listed()
    t.strictSame((await atProvider()).map(({ sandboxId }) => sandboxId).toSorted(), left.toSorted())
    for (const id of left) {
      const headers = { accept: 'application/json' }
      const { body } = await ask(`${path}/${id}/exec`, { json: { command: ['pwd'] }, headers })
      t.match(body, { exitCode: 0 }, 'the remaining ones are complete')
      await ask(`${path}/${id}`, { method: 'DELETE' })
    }
  })

  await t.test('No secret is in a log, an error, an event or a tag', async (t) => {
    const value = secret('env')
    const guess = secret('guess')
    const jwt = await new SignJWT({ sub: 'acme' }).setProtectedHeader({ alg: 'HS256' }).setExpirationTime('5m')
      .sign(new TextEncoder().encode(jwtSecret))
    const seen: string[] = []
    const keep = async (url: string, init: Parameters<typeof request>[1] = {}) => {
      const response = await request(url, init)
      const text = await response.text()
      seen.push(text, JSON.stringify([...response.headers].filter(([name]) => name !== 'set-cookie')))
      return { status: response.status, text }
    }

    const spec = { env: { PRIVATE: value }, secrets: ['test-one'], volume: { name: 'private' } }
    const created = await keep(path, { json: spec, headers: { 'idempotency-key': secret('order') } })
    const { id } = JSON.parse(created.text)
    const jsonOnly = { accept: 'application/json' }
    const visible = await keep(`${path}/${id}/exec`, {
      headers: jsonOnly,
      json: {
        command: ['sh', '-c', 'printf %s "$PRIVATE$NAMED$OWN" | sha256sum; cat > /tmp/in'], env: { OWN: value }, stdin: value
      }
    })
    t.match(JSON.parse(visible.text).stdout, digest(value + named + value), 'they are available inside the sandbox')
    const script = JSON.stringify([[{ tool: 'Bash', input: { command: 'echo key=$ANTHROPIC_API_KEY; exit 3' } }]])
    const run = await keep(`${path}/${id}/claude`, { json: { prompt: `\`\`\`scripted\n${script}\n\`\`\`` } })
    t.match(run.text, /key=.*[\s\S]*event: run.completed/)

    // Everything that can fail, with secrets wherever a client may put them.
    t.equal((await keep(path, { json: { ...spec, workdir: '/etc/passwd/x' } })).status, 422)
    const image = { registry: 'local', dockerfileCommands: ['RUN exit 3'] }
    t.equal((await keep(path, { json: { ...spec, image }, headers: { accept: 'text/event-stream' } })).status, 200)
    t.equal((await keep(path, { json: { ...spec, cpu: value } })).status, 400)
    t.equal((await keep(path, { json: { env: { PRIVATE: [value] } } })).status, 400)
    t.equal((await keep(path, { json: { ...spec, gpu: 'T4' } })).status, 422)
    const broken = { method: 'POST', headers: { 'content-type': 'application/json' } }
    t.equal((await keep(path, { ...broken, body: `{"env":{"A":"${value}"` })).status, 400)
    t.equal((await keep(path, { ...broken, body: `"${value}` })).status, 400)
    t.equal((await keep(path, { ...broken, body: `{"env":{"A":${value}}}` })).status, 400)
    const badly = { command: ['true'], secrets: ['test-none'], env: { A: value }, stdin: value }
    t.equal((await keep(`${path}/${id}/exec`, { json: badly })).status, 404)
    for (const [name, credential] of [
      ['x-api-key', guess], ['authorization', `Bearer ${guess}`], ['authorization', `Basic ${guess}`],
      ['authorization', `Bearer ${jwt}x`], ['cookie', `modal_sandbox_session=${guess}`]
    ] as const) t.equal((await keep(path, { headers: { 'x-api-key': '', [name]: credential } })).status, 401)
    t.equal((await keep(path, { headers: { 'x-api-key': '', authorization: `Bearer ${jwt}` } })).status, 200)
    t.equal((await keep('/api/session', { json: { credential: guess } })).status, 401)
    t.equal((await keep('/api/session', { json: { credential: apiKey } })).status, 200)
    await keep(`${path}?token=${guess}`)
    await keep(`/nowhere/?token=${guess}`)
    const tags = await Promise.all((await atProvider()).map(async (sandbox) => await sandbox.getTags()))
    t.ok(tags.length > 0)
    await keep(`${path}/${id}`, { method: 'DELETE' })

    const logs = { log: service.output(), 'emulator log': emulator.output() }
    const places = { answers: seen.join('\n'), tags: JSON.stringify(tags), ...logs }
    const ours = { jwtSecret, modelKey: model.apiKey, modalToken: modal.MODAL_TOKEN_SECRET! }
    const secrets = { value, guess, jwt, named, apiKey, ...ours }
    t.match(places.log, /"level":20/, 'the log is at its most verbose level')
    for (const [place, text] of Object.entries(places)) {
      for (const [name, secret] of Object.entries(secrets)) {
        // The emulator prints its own token for the user who starts it.
        if (place === 'emulator log' && name === 'modalToken') continue
        const at = text.indexOf(secret)
        t.equal(at, -1, `${name} in ${place}${at < 0 ? '' : `: ...${text.slice(Math.max(0, at - 200), at)}`}`)
      }
    }
  })

  await t.test('Key operations are logged at info, with the ids of what they created (10.3, 10.5)', async (t) => {
    const before = service.output().length
    const { body: { id } } = await ask(path, { json: { volume: { name: 'logged' } } })
    const url = `${path}/${id}`
    await ask(`${url}/exec`, { json: { command: ['true'] }, headers: { accept: 'application/json' } })
    const octets = { 'content-type': 'application/octet-stream' }
    await ask(`${url}/files/content?path=secret-name.txt`, { method: 'PUT', body: 'four', headers: octets })
    const run = await request(`${url}/claude`, { json: { prompt: '```scripted\n[[{"text":"Hello."}]]\n```' } })
    let runId
    for await (const { event, data } of readSse(run)) if (event === 'run.started') ({ runId } = data as { runId: string })
    await ask(url, { method: 'DELETE' })
    await service.said(new RegExp(`"sandboxId":"${id}".*"msg":"sandbox terminated"`))

    const lines = service.output().slice(before).split('\n').filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    const logged = (msg: string) => lines.find((line) => line.msg === msg && line.sandboxId === id)
    const own = { level: 30, sandboxId: id, accountId: 'acme', reqId: /^req_/ }
    t.match(logged('sandbox created'), { ...own, volume: 'logged' })
    t.match(logged('exec started'), { ...own, execId: /./ })
    t.match(logged('file written'), { ...own, bytes: 4 })
    t.match(logged('run started'), { ...own, runId })
    t.match(logged('stream opened'), { ...own, runId })
    t.match(logged('run completed'), { level: 30, sandboxId: id, runId, outcome: 'result' })
    t.match(logged('sandbox terminated'), own)
    t.notMatch(JSON.stringify(lines), 'secret-name', 'names of files are not logged')
  })

  await t.test('SIGTERM: readers are notified, commands end, and a stalled reader does not delay it', async (t) => {
    const { body: { id } } = await ask(path, { json: {} })
    const exec = (command: string) => ({ json: { command: ['sh', '-c', command] } })
    const body = JSON.stringify(exec('yes 8181').json)
    const stalled = connect(Number(new URL(service.url).port), '127.0.0.1')
    stalled.on('error', () => {})
    stalled.write(`POST ${path}/${id}/exec HTTP/1.1\r\nhost: x\r\nx-api-key: ${apiKey}\r\ncontent-type: application/json\r\n` +
      `content-length: ${body.length}\r\n\r\n${body}`)
    await once(stalled, 'readable')
    const reader = (async () => {
      const names: string[] = []
      const response = await request(`${path}/${id}/exec`, exec('echo ready; sleep 8181'))
      for await (const { event } of readSse(response)) names.push(event)
      return names
    })()
    await sleep(500)

    const started = performance.now()
    const stopped = service.stop('SIGTERM')
    const answers: Awaited<ReturnType<typeof ask>>[] = []
    const asking = setInterval(() => { ask('/healthz').then((answer) => answers.push(answer), () => {}) }, 20)
    const [code, signal] = await stopped
    const took = performance.now() - started
    clearInterval(asking)
    const late = answers.find(({ status }) => status !== 200)
    t.match(late, { status: 503, body: { code: 'SHUTTING_DOWN', requestId: /^req_/ } }, 'new requests are refused')
    t.strictSame({ code, signal }, { code: 0, signal: null })
    t.ok(took < 8000, `${Math.round(took)} ms`)
    t.equal((await reader).at(-1), 'shutdown')
    stalled.destroy()
    const log = service.output()
    t.match(log, /"signal":"SIGTERM".*"msg":"closing"/)
    t.match(log, /"streams":2.*"msg":"closing open streams"/)
    t.match(log, /"reason":"(shutdown|client left)","gone":true,"msg":"exec killed"/)
    t.match(log, /"msg":"closed"/)
    const sandbox = await client.sandboxes.fromId(id)
    const left = await sandbox.exec(['sh', '-c', 'cat /proc/[0-9]*/cmdline | tr "\\0" " " | grep -o "818[1]" | wc -l'])
    t.equal((await left.stdout.readText()).trim(), '0', 'no process of a reader is left')
    service = await startServiceProcess(env)
    t.equal((await ask(`${path}/${id}`, { method: 'DELETE' })).status, 200, 'the sandbox is still there for the next process')
  })
})
