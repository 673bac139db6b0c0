import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { digest } from '../../lib/ids.js'
import { testEmulator } from '../helpers/emulator.js'
import { noFaults, randomFaults, randomNumbers, startFaultProxy } from '../helpers/fault-proxy.js'
import { startServiceProcess } from '../helpers/processes.js'
import { noS3, s3Settings, startS3 } from '../helpers/s3.js'
import {
  describeScript, differences, incompleteUploads, parseTree, readBucket, treeProgram, type Tree
} from '../helpers/trees.js'

const rounds = Number(process.env.SYNC_ROUNDS ?? 1)
const fill = 'cd /workspace && head -c 20000000 /dev/urandom > large && for n in $(seq 20); do echo $n > $n; done'
const hourMs = 3_600_000
/** A module that a process begins with: its clock is wrong by so much from then on. */
const clockWrongBy = (ms: number) => 'data:text/javascript,' + encodeURIComponent(`const Right = Date
  globalThis.Date = class extends Right {
    static now () { return Right.now() + ${ms} }
    constructor (...args) { super(...args.length > 0 ? args : [Right.now() + ${ms}]) }
  }`)
const api = '/api/modal/sandbox'
const key = 'sync-faults-key'

t.test('A workspace and S3, with everything between them failing (2.5, 3.5)', { skip: noFaults || noS3 }, async (t) => {
  const s3 = await startS3()
  await s3.createBucket('work')
  const proxy = await startFaultProxy(s3.endpoint)
  const keyOf = ({ accessKeyId, secretAccessKey }: { accessKeyId: string, secretAccessKey: string }) =>
    ({ AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey })
  const secrets: Record<string, Record<string, string>> = { aws: keyOf(s3) }
  const emulator = await testEmulator({ secrets, network: 'host' })
  const env = {
    MODAL_SERVER_URL: emulator.url,
    MODAL_TOKEN_ID: emulator.tokenId,
    MODAL_TOKEN_SECRET: emulator.tokenSecret,
    ACCOUNTS: JSON.stringify([{ id: 'faults', apiKeys: [`sha256:${digest(key)}`], s3: [{ bucket: 'work' }, { bucket: 'work', secretName: 'aws' }] }]),
    ...s3Settings({ ...s3, endpoint: proxy.endpoint })
  }
  let service = await startServiceProcess(env)
  const program = await readFile(treeProgram, 'utf8')
  t.teardown(async () => {
    await service.stop()
    await emulator.stop()
    await proxy.close()
    await s3.close()
  })

  async function request (path: string, json?: object, method = json === undefined ? 'GET' : 'POST') {
    const headers = { 'x-api-key': key, accept: 'application/json', ...json && { 'content-type': 'application/json' } }
    const response = await fetch(service.url + path, { method, headers, ...json && { body: JSON.stringify(json) } })
    return { status: response.status, body: await response.json() as any }
  }
  async function sandbox (volume: string, keyPrefix: string, more: object = {}): Promise<string> {
    const s3 = { bucket: 'work', keyPrefix, initialize: false, syncOnTerminate: false, ...more }
    const { status, body } = await request(api, { volume: { name: volume }, s3 })
    if (status !== 200) throw new Error(JSON.stringify(body))
    return body.id
  }
  async function exec (id: string, ...command: string[]): Promise<string> {
    const { body } = await request(`${api}/${id}/exec`, { command })
    if (body.exitCode !== 0) throw new Error(JSON.stringify(body))
    return body.stdout
  }
  const describe = async (id: string): Promise<Tree> => parseTree(await exec(id, 'sh', '-c', describeScript, 'sh', '/workspace'))
  async function tree (id: string, task: string, seed = 0, argument = ''): Promise<Tree> {
    await exec(id, 'node', '--input-type=module', '-e', program, task, '/workspace', String(seed), argument)
    return await describe(id)
  }
  const sync = async (id: string, direction: string) => await request(`${api}/${id}/sync`, { direction, delete: true })
  const end = async (id: string) => await request(`${api}/${id}`, undefined, 'DELETE')
  const failedPaths = ({ body }: { body: any }): string[] | undefined =>
    (body.failed ?? body.report?.failed)?.map(({ path }: { path: string }) => path)

  await t.test('What is said to be synced is, and the next sync completes', async (t) => {
    const [from, to] = [await sandbox('from', 'rounds'), await sandbox('to', 'rounds')]
    for (let seed = 1; seed <= rounds; seed++) {
      const random = randomNumbers(seed)
      // Enough for packs at first, and then what becomes of them.
      const before = await tree(from, 'change', seed, seed === 1 ? '150' : '25')
      proxy.use(randomFaults(random, 0.1))
      const except = failedPaths(await sync(from, 'upload'))
      const stored = await readBucket(s3.client, 'work', 'rounds/')
      if (except !== undefined) t.strictSame(differences(before, stored, { except, plain: true }), [], 'stored')
      proxy.use()
      t.match(await sync(from, 'upload'), { status: 200, body: { failed: { length: 0 } } }, 'the next upload completes')
      const whole = await readBucket(s3.client, 'work', 'rounds/')
      t.strictSame([differences(before, whole, { plain: true }), differences(whole, before)], [[], []], 'all of it, only it')
      t.strictSame(await incompleteUploads(s3.client, 'work'), [], 'no upload is left open')

      await tree(to, 'clear')
      proxy.use(randomFaults(random, 0.1))
      const missing = failedPaths(await sync(to, 'download'))
      if (missing !== undefined) {
        t.strictSame(differences(before, await describe(to), { except: missing, times: true }), [], 'restored')
      }
      proxy.use()
      t.match(await sync(to, 'download'), { status: 200, body: { failed: { length: 0 } } }, 'the next download completes')
      t.strictSame(differences(before, await describe(to), { times: true }), [], 'with everything')
    }
    t.comment(`faults: ${JSON.stringify(Object.fromEntries(proxy.counts))}`)
    await end(to)
    await end(from)
  })

  await t.test('A service that is killed in the middle leaves nothing that the next sync does not put right', async (t) => {
    const id = await sandbox('killed', 'killed')
    await exec(id, 'sh', '-c', fill)
    const before = await describe(id)
    proxy.use(({ method }) => method === 'PUT' ? { kind: 'slow', ms: 300 } : undefined)
    const cut = sync(id, 'upload').catch(() => 'cut')
    while ((await incompleteUploads(s3.client, 'work')).length === 0) await sleep(50)
    await service.stop('SIGKILL')
    t.equal(await cut, 'cut')
    proxy.use()
    service = await startServiceProcess(env)
    const refused = await sync(id, 'upload')
    t.match(refused, { status: 409, body: { code: 'SYNC_ACTIVE' } }, 'its lock is kept for a while')
    await exec(id, 'sh', '-c', 'touch -d "3 minutes ago" /tmp/.modal-sandbox/sync_*')
    t.match(await sync(id, 'upload'), { status: 200, body: { failed: { length: 0 } } })
    t.strictSame(differences(before, await readBucket(s3.client, 'work', 'killed/'), { plain: true }), [])
    t.strictSame(await incompleteUploads(s3.client, 'work'), [])
    await end(id)
  })

  await t.test('A service that is told to stop says so to its clients, and the next one goes on at once', async (t) => {
    const id = await sandbox('stopped', 'stopped')
    await exec(id, 'sh', '-c', fill)
    const before = await describe(id)
    proxy.use(({ method }) => method === 'PUT' ? { kind: 'slow', ms: 300 } : undefined)
    const stopped = sync(id, 'upload')
    while ((await incompleteUploads(s3.client, 'work')).length === 0) await sleep(50)
    const ended = service.stop()
    t.match(await stopped, { status: 503, body: { code: 'SHUTTING_DOWN' } })
    t.strictSame(await ended, [0, null])
    proxy.use()
    t.strictSame(await incompleteUploads(s3.client, 'work'), [], 'it has cleaned up')
    service = await startServiceProcess(env)
    t.match(await request(`${api}/${id}/sync`), { body: { active: false, last: null } })
    t.match(await sync(id, 'upload'), { status: 200, body: { failed: { length: 0 } } })
    t.strictSame(differences(before, await readBucket(s3.client, 'work', 'stopped/'), { plain: true }), [])
    await end(id)
  })

  await t.test('Keys that expire in the middle are read again from their secret, and the sync goes on (2.7)', async (t) => {
    const id = await sandbox('expired', 'expired', { secretName: 'aws' })
    await exec(id, 'sh', '-c', fill)
    t.match(await sync(id, 'download'), { status: 200 }, 'the keys have been read')
    const fresh = await s3.createKey()
    secrets['aws'] = keyOf(fresh)
    await sleep(5500)
    let refused = 0
    let puts = 0
    proxy.use(({ method, url, authorization }) => {
      // In the query, when it is signed for somebody else to send.
      if (!`${authorization}${url}`.includes(s3.accessKeyId) || (method === 'PUT' && ++puts < 5)) return
      if (puts < 5) return
      refused++
      return { kind: 'refused', status: 403, code: 'ExpiredToken' }
    })
    t.match(await sync(id, 'upload'), { status: 200, body: { files: 21, failed: { length: 0 }, verified: 21 } })
    t.ok(refused > 0 && puts >= 5, `${refused} refused after ${puts}`)
    proxy.use()
    await end(id)
  })

  for (const [which, offset] of [['fast', hourMs], ['slow', -hourMs]] as const) {
    const title = `A service whose clock is an hour ${which} signs by the clock of S3, also for the sandbox (2.1, 3.1)`
    await t.test(title, { timeout: 60_000 }, async (t) => {
      await service.stop()
      service = await startServiceProcess({ ...env, NODE_OPTIONS: `--import=${clockWrongBy(offset)}` })
      const [from, to] = [await sandbox(`${which}-from`, which), await sandbox(`${which}-to`, which)]
      await exec(from, 'sh', '-c', fill)
      const before = await describe(from)
      const presigned: number[] = []
      proxy.use(({ url }) => {
        const [, date] = /X-Amz-Date=(\w+)Z/.exec(url) ?? []
        if (date !== undefined) presigned.push(signedAt(date))
        return undefined
      })
      t.match(await sync(from, 'upload'), { status: 200, body: { files: 21, verified: 21, failed: { length: 0 } } })
      const sent = presigned.length
      t.match(await sync(to, 'download'), { status: 200, body: { files: 21, verified: 21, failed: { length: 0 } } })
      proxy.use()
      t.strictSame(differences(before, await describe(to), { times: true }), [])
      const { body: { last } } = await request(`${api}/${to}/sync`)
      t.ok(Math.abs(Date.parse(last.finishedAt) - Date.now() - offset) < 60_000, 'its clock is wrong indeed')
      t.ok(sent > 0 && presigned.length > sent, 'files went both ways by presigned requests')
      t.strictSame(presigned.filter((at) => Math.abs(at - Date.now()) > 60_000), [], 'and each was good')
      for (const id of [from, to]) await end(id)
      await service.stop()
      service = await startServiceProcess(env)
    })
  }

  await t.test('A sandbox that ends in the middle is reported, and its volume is stored from the next one', async (t) => {
    const id = await sandbox('ended', 'ended')
    // More than is under way at a time, which could still arrive.
    await exec(id, 'sh', '-c', `${fill} && head -c 100000000 /dev/urandom > large`)
    const before = await describe(id)
    proxy.use(({ method }) => method === 'PUT' ? { kind: 'slow', ms: 3000 } : undefined)
    const syncing = sync(id, 'upload')
    while ((await incompleteUploads(s3.client, 'work')).length === 0) await sleep(50)
    await end(id)
    const lost = await syncing
    t.ok(lost.status >= 400, `no success: ${lost.status} ${lost.body.code}`)
    proxy.use()
    const next = await sandbox('ended', 'ended')
    t.match(await sync(next, 'upload'), { status: 200, body: { failed: { length: 0 } } })
    t.strictSame(differences(before, await readBucket(s3.client, 'work', 'ended/'), { plain: true }), [])
    t.strictSame(await incompleteUploads(s3.client, 'work'), [])
    await end(next)
  })
})

/** What a signed URL says of its time, in milliseconds. */
function signedAt (date: string): number {
  return Date.parse(date.replace(/(....)(..)(..T..)(..)(..)/, '$1-$2-$3:$4:$5Z'))
}
