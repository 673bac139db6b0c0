import { ListObjectsV2Command, PutObjectCommand } from '@aws-sdk/client-s3'
import t from 'tap'
import { digest, randomId } from '../../lib/ids.js'
import { eventually } from '../helpers/containers.js'
import { noS3, reachableS3 } from '../helpers/reachable-s3.js'
import { s3Settings } from '../helpers/s3.js'
import { accountIds, keys, live, readSse, skip, startService, type ReceivedEvent } from '../helpers/service.js'

const path = '/api/modal/sandbox'

t.test('workspaces in S3', { skip: skip || noS3 }, async (t) => {
  const s3 = await reachableS3(t)
  if (s3 === undefined) return
  t.teardown(() => s3.close())
  const bucket = await s3.createBucket('work')
  /** Nobody else's: live they are in the operator's workspace. */
  const secret = `test-aws-${randomId('s').slice(2, 10)}`
  const account = (name: 'alice' | 'bob', places: object[]) => ({
    id: accountIds[name],
    apiKeys: [`sha256:${digest(keys[name])}`],
    secrets: ['test-*'],
    s3: places,
    limits: { sandboxes: 20, runs: 5, requestsPerMinute: 100_000 }
  })
  const service = await startService({
    ACCOUNTS: JSON.stringify([
      account('alice', [
        { bucket, keyPrefix: 'alice/' }, { bucket, keyPrefix: 'alice/', secretName: 'test-aws*' },
        { bucket: `${bucket}-none` }
      ]),
      account('bob', [{ bucket, keyPrefix: '{account}' }])
    ]),
    EMULATOR_SECRETS: JSON.stringify({
      [secret]: {
        AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: s3.secretAccessKey, AWS_ENDPOINT_URL: s3.endpoint
      },
      [`${secret}-wrong`]: { AWS_ACCESS_KEY_ID: s3.accessKeyId, AWS_SECRET_ACCESS_KEY: 'wrong-secret-value' },
      [`${secret}-empty`]: { OTHER: '1' }
    }),
    ...s3Settings(s3)
  })
  t.teardown(() => service.close())

  const request = async (url: string, options: Parameters<typeof service.request>[1] = {}) => {
    const response = await service.request(url, options)
    return { status: response.status, body: await response.json() as any }
  }
  const create = async (json: object, as: keyof typeof keys = 'alice') => await request(path, { method: 'POST', json, as })
  const created = async (json: object) => {
    const { status, body } = await create(json)
    if (status !== 200) throw new Error(JSON.stringify(body))
    return body.id as string
  }
  const sh = async (id: string, script: string) => {
    const { body } = await request(`${path}/${id}/exec`, {
      method: 'POST', json: { command: ['bash', '-c', script] }, headers: { accept: 'application/json' }
    })
    return `${body.stdout}${body.stderr}` as string
  }
  const sync = async (id: string, json: object) => await request(`${path}/${id}/sync`, { method: 'POST', json })
  const end = async (id: string, query = '') => (await request(`${path}/${id}${query}`, { method: 'DELETE' })).body
  const objects = async (prefix: string) => {
    const { Contents = [] } = await s3.client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix }))
    return Contents.map(({ Key }) => Key!.slice(prefix.length)).filter((key) => !key.startsWith('.modal-sandbox/'))
  }
  const put = async (Key: string, Body: string) => {
    await s3.client.send(new PutObjectCommand({ Bucket: bucket, Key, Body }))
  }
  /** To the microsecond: Node.js sets no finer times. */
  const look = 'find . -mindepth 1 -printf "%P %y %m %s %TY%Tm%Td%TH%TM%TS %l\\n" | sed "s/\\(\\.[0-9]\\{6\\}\\)[0-9]\\{4\\} /\\1 /" | LC_ALL=C sort; ' +
    'find . -type f -exec md5sum {} + | LC_ALL=C sort'

  /** The last tenth of a lifetime has to do for a sync, each request of which takes longer where it is live. */
  const longer = live ? 3 : 1
  /** What is to happen by itself, while the other tests run. */
  const [idle, expiring] = await Promise.all([
    created({ s3: { bucket, keyPrefix: 'alice/idle' }, idleTimeoutMs: 12_000 * longer }),
    created({ s3: { bucket, keyPrefix: 'alice/expiring' }, timeoutMs: 20_000 * longer })
  ])
  await Promise.all([sh(idle, 'echo work > idle'), sh(expiring, 'echo work > expiring')])
  const { body: seen } = await request(`${path}/${idle}`)

  await t.test('What one session ends with, the next begins with (2.1-2.8, 3.1-3.6, 5.4, 8.5)', async (t) => {
    const storage = { bucket, keyPrefix: 'alice/one' }
    const first = await create({ s3: storage })
    t.equal(first.status, 200, 'an empty prefix is no mistake (3.6)')
    t.match(first.body.s3, { bucket, keyPrefix: 'alice/one/', initialize: true, syncOnTerminate: true })
    const { id } = first.body
    await sh(id, `mkdir -p src/deep empty 'sp ace' && cd src && echo one > deep/file && printf '#!/bin/sh\\n' > run && chmod 750 run &&
      ln -s deep/file link && ln -s /nowhere/at/all broken && : > nothing && echo u > "../sp ace/ü+%#?&=\\"'\\\\.txt" &&
      printf n > "$(printf '../line\\nbreak')" && head -c 20000000 /dev/urandom > large && chmod 500 ../empty &&
      touch -d '2020-02-02 02:02:02.123456789' deep/file && mkfifo pipe`)
    const before = await sh(id, look)
    const ended = await end(id)
    t.match(ended.steps.map(({ step, ok }: any) => [step, ok]), [['runs', true], ['stop', true], ['sync', true], ['terminate', true]])
    const { report } = ended.steps.find(({ step }: any) => step === 'sync')
    t.match(report, { direction: 'upload', files: 8, failed: { length: 0 }, verified: 8, ignored: 1, skipped: 0 })
    t.ok(report.bytes > 20_000_000 && report.durationMs > 0, 'with its figures (2.6)')
    t.ok((await objects('alice/one/')).includes('src/deep/file'), 'the structure is that of the directory (2.2, 2.3)')

    const second = await service.request(path, { method: 'POST', json: { s3: storage }, headers: { accept: 'text/event-stream' } })
    const events: ReceivedEvent[] = []
    for await (const event of readSse(second)) events.push(event)
    t.match(events.filter(({ data }) => data.step === 'initialize').map(({ data }) => data.status), ['started', 'done'])
    const next = events.at(-1)!.data.id as string
    service.remember(next)
    const withoutPipe = before.replace(/^src\/pipe .*\n/m, '').replace(/^(src|.*empty) d (\d+) .*$/gm, '$1 d $2')
    const after = await sh(next, look)
    t.equal(after.replace(/^(src|.*empty) d (\d+) .*$/gm, '$1 d $2'), withoutPipe, 'bytes, modes, times and links (3.2)')
    const again = await sync(next, { direction: 'upload' })
    t.match(again, { status: 200, body: { files: 0, skipped: 8, verified: 8, bytes: 0 } }, 'nothing is sent twice')
    t.match((await request(`${path}/${next}/sync`)).body, { active: false, last: { direction: 'upload', report: { skipped: 8 } } })
    t.match(await end(next, '?sync=false'), { steps: [{ step: 'runs' }, { step: 'stop' }, { step: 'terminate' }] })
  })

  await t.test('A sync on demand tells how far it is, and ends with its report', async (t) => {
    const id = await created({ s3: { bucket, keyPrefix: 'alice/progress' } })
    await sh(id, 'for i in $(seq 300); do echo $i > $i; done; sleep 0.1')
    const response = await service.request(`${path}/${id}/sync`, {
      method: 'POST', json: { direction: 'upload' }, headers: { accept: 'text/event-stream' }
    })
    const events: ReceivedEvent[] = []
    for await (const event of readSse(response)) events.push(event)
    t.match(events[0], { event: 'progress', data: { phase: 'list', files: 0 } })
    t.ok(events.some(({ event, data }) => event === 'progress' && data.phase === 'transfer' && data.totalFiles === 300))
    t.match(events.at(-1), { event: 'report', data: { files: 300, verified: 300, failed: { length: 0 } } })
    t.match(await sync(id, { direction: 'download', dryRun: true }), { body: { dryRun: true, files: 0, skipped: 300 } })
    await sh(id, 'rm 1; echo changed > 2')
    t.match(await sync(id, { direction: 'upload', dryRun: true, delete: true }), { body: { files: 1, deleted: 1, dryRun: true } })
    t.equal((await objects('alice/progress/')).length, 300, 'a dry run does nothing')
    t.match(await sync(id, { direction: 'upload', delete: true }), { body: { files: 1, deleted: 1, skipped: 298 } })
    t.equal((await objects('alice/progress/')).includes('1'), false)
  })
  await t.test('Errors: no storage, wrong bucket, wrong keys, and what an account may not use (1.5, 2.7, 3.4, 9.3)', async (t) => {
    const forbidden = [
      { bucket: 'other' }, { bucket, keyPrefix: '' }, { bucket, keyPrefix: 'alice-evil/' }, { bucket, keyPrefix: 'bob' },
      { bucket, secretName: 'other' }, { bucket, endpointUrl: 'http://169.254.169.254' }
    ]
    for (const s3 of forbidden) t.match(await create({ s3 }), { status: 403, body: { code: 'FORBIDDEN', step: 'policy' } }, JSON.stringify(s3))
    for (const keyPrefix of ['../alice', 'alice/../bob', '/alice', 'alice//x', 'alice/./x', 'a\u0000', 'alice/.modal-sandbox/x']) {
      t.match(await create({ s3: { bucket, keyPrefix } }), { status: 400, body: { code: 'BAD_REQUEST', message: /keyPrefix/ } }, keyPrefix)
    }
    t.match(await create({ s3: { bucket }, workdir: '/' }), { status: 400, body: { message: /body\.s3/ } })
    t.match(await create({ s3: { bucket, secretName: secret, mountPath: '/workspace/x' } }), { status: 400, body: { message: /mountPath/ } })
    t.match(await create({ s3: { bucket: `${bucket}-none` } }), { status: 502, body: { code: 'S3_REFUSED', step: 'initialize', message: /does not exist/ } })
    t.match(await create({ s3: { bucket, secretName: `${secret}-wrong` } }), {
      status: 502, body: { code: 'S3_REFUSED', step: 'initialize', message: /secret access key/ }
    })
    t.match(await create({ s3: { bucket, secretName: `${secret}-empty` } }), { status: 502, body: { code: 'S3_REFUSED', message: /AWS_ACCESS_KEY_ID/ } })
    t.match(await create({ s3: { bucket, secretName: `${secret}-none` } }), { status: 404, body: { code: 'SECRET_NOT_FOUND' } })
    t.strictSame((await request(path)).body.sandboxes.filter(({ s3 }: any) => s3?.bucket === `${bucket}-none`), [], 'what could not be initialized is gone')
    const plain = await created({})
    t.match(await sync(plain, { direction: 'upload' }), { status: 409, body: { code: 'NO_STORAGE' } })
    t.match(await sync(plain, { direction: 'sideways' }), { status: 400 })
  })

  await t.test('Local mode has no bucket mounts, and says so', { skip: live && 'Modal has them' }, async (t) => {
    t.match(await create({ s3: { bucket, secretName: secret, mountPath: '/bucket' } }), {
      status: 422, body: { code: 'NOT_SUPPORTED', message: /bucket mounts/, step: 'create' }
    })
  })

  await t.test('Credentials come from a Modal secret and never reach the sandbox (2.7, 9.3)', async (t) => {
    await put('alice/secret/a', 'by secret')
    const id = await created({ s3: { bucket, keyPrefix: 'alice/secret', secretName: secret } })
    t.equal(await sh(id, 'cat a; env | grep -c AWS; grep -l AWS_ /proc/*/environ'), 'by secret0\n')
    t.match((await request(`${path}/${id}`)).body.s3, { secretName: secret, keyPrefix: 'alice/secret/' })
  })

  await t.test('One sync at a time, on any replica; a versioned workspace keeps and lists its saves', async (t) => {
    const id = await created({ s3: { bucket, keyPrefix: 'alice/saves', versioned: true } })
    await sh(id, 'mkdir -p /tmp/.modal-sandbox/sync-lock && : > /tmp/.modal-sandbox/sync_other && ln -sfn sync_other /tmp/.modal-sandbox/sync-lock/head')
    t.match(await sync(id, { direction: 'upload' }), { status: 409, body: { code: 'SYNC_ACTIVE' } })
    t.match((await request(`${path}/${id}/sync`)).body, { active: true, last: { direction: 'download' }, versions: { length: 0 } })
    await sh(id, 'touch -d "5 minutes ago" /tmp/.modal-sandbox/sync_other; echo one > a; sleep 0.1')
    const first = await sync(id, { direction: 'upload' })
    t.match(first, { status: 200, body: { files: 1 } }, 'the place of a dead one is taken over')
    await sh(id, 'echo two > a; sleep 0.1')
    const second = await sync(id, { direction: 'upload' })
    const { body } = await request(`${path}/${id}/sync`)
    t.match(body, { active: false, versions: [{ version: second.body.version }, { version: first.body.version }] })
    t.match(await sync(id, { direction: 'download', version: first.body.version }), { status: 200, body: { files: 1 } })
    t.equal(await sh(id, 'cat a'), 'one\n')
    t.match(await sync(id, { direction: 'download', version: '20200101T000000000Z-0000' }), { status: 404 })
    await end(id, '?sync=false')
  })

  await t.test('Who asks for the same sandbox again waits for the one that fills it (3.1)', async (t) => {
    for (let n = 0; n < 40; n++) await put(`alice/joined/${n}`, `content ${n}`)
    const ask = async () => await request(path, {
      method: 'POST', json: { s3: { bucket, keyPrefix: 'alice/joined' } }, headers: { 'idempotency-key': 'joined' }
    })
    const [one, other] = await Promise.all([ask(), ask()])
    t.match([one.status, other.status], [200, 200])
    t.equal(one.body.id, other.body.id)
    t.equal(await sh(one.body.id, 'ls | wc -l'), '40\n')
    await end(one.body.id, '?sync=false')
  })

  await t.test('A sandbox that is to end waits for the sync that is running, and for what came after it (2.8, 5.4)', async (t) => {
    const id = await created({ s3: { bucket, keyPrefix: 'alice/waits' } })
    await sh(id, 'head -c 50000000 /dev/urandom > large; sleep 0.1')
    const syncing = sync(id, { direction: 'upload' })
    t.ok(await eventually(async () => (await request(`${path}/${id}/sync`)).body.active))
    await sh(id, 'echo last > last; sleep 0.1')
    const ended = await end(id)
    t.match(await syncing, { status: 200, body: { failed: { length: 0 } } })
    t.match(ended.steps.find(({ step }: any) => step === 'sync'), { ok: true, report: { failed: { length: 0 } } })
    t.strictSame(await objects('alice/waits/'), ['large', 'last'])
  })

  await t.test('A sandbox without any network is filled and stored all the same, by the service', async (t) => {
    const sandbox = { s3: { bucket, keyPrefix: 'alice/blocked' }, network: { block: true } }
    const first = await created(sandbox)
    t.match(await sh(first, `curl -s --max-time 2 ${s3.endpoint} || echo unreachable`), /unreachable/)
    await sh(first, 'for n in $(seq 600); do echo $n > $n; done; head -c 9000000 /dev/zero > large; sleep 0.1')
    t.match((await end(first)).steps.find(({ step }: any) => step === 'sync'), { ok: true, report: { files: 601 } })
    const next = await created(sandbox)
    t.equal(await sh(next, 'ls | wc -l; cat 600; stat -c %s large'), '601\n600\n9000000\n')
    await end(next, '?sync=false')
  })

  await t.test('Keys that are no paths are warnings by name, and the rest is restored, whatever the environment', async (t) => {
    for (const key of ['ok', 'a//b', '../x', './y', 'x', 'x/y', '/abs']) await put(`alice/odd/${key}`, key)
    const env = { LD_PRELOAD: '/missing.so', TAR_OPTIONS: '--bad' }
    const id = await created({ s3: { bucket, keyPrefix: 'alice/odd' }, env })
    const { failed, files, warnings } = (await request(`${path}/${id}/sync`)).body.last.report
    t.match({ failed, files }, { failed: { length: 0 }, files: 2 })
    const codes = Object.fromEntries(warnings.map(({ path, code }: any) => [path, code]))
    t.strictSame(codes, { 'a//b': 'KEY_UNSAFE', '../x': 'KEY_UNSAFE', './y': 'KEY_UNSAFE', '/abs': 'KEY_UNSAFE', x: 'KEY_CONFLICT' })
    await end(id)
  })

  await t.test('Work is stored after a run, when the sandbox is asked for it', async (t) => {
    const id = await created({ s3: { bucket, keyPrefix: 'alice/run', syncAfterRun: true, syncOnTerminate: false } })
    const run = await service.request(`${path}/${id}/claude`, { method: 'POST', json: { prompt: 'Hello there' } })
    const events: ReceivedEvent[] = []
    for await (const event of readSse(run)) events.push(event)
    t.match(events.at(-1), { event: 'run.completed', data: { outcome: 'result' } })
    t.ok(await eventually(async () => (await objects('alice/run/')).some((key) => key.startsWith('hello-'))))
    t.ok(await eventually(async () => (await request(`${path}/${id}/sync`)).body.last?.direction === 'upload'))
    await end(id)
  })

  await t.test('With delete, what is removed in a session is not there in the next; without it comes back (2.8, 3.1)', async (t) => {
    for (const isDeleting of [true, false]) {
      const s3 = { bucket, keyPrefix: `alice/removed-${isDeleting}`, delete: isDeleting }
      const first = await created({ s3 })
      await sh(first, 'echo 1 > kept; echo 2 > removed; sleep 0.1')
      t.match(await sync(first, { direction: 'upload' }), { body: { files: 2 } })
      await sh(first, 'rm removed')
      const { steps } = await end(first)
      t.match(steps.find(({ step }: any) => step === 'sync'), { ok: true, report: { deleted: isDeleting ? 1 : 0 } })
      const next = await created({ s3 })
      t.equal(await sh(next, 'ls'), isDeleting ? 'kept\n' : 'kept\nremoved\n')
      await sh(next, 'rm -r *')
      t.match((await end(next)).steps.find(({ step }: any) => step === 'sync'), { ok: true, report: { deleted: 0 } }, 'an empty one deletes nothing')
    }
  })

  await t.test('Work is stored before a sandbox expires, and before it is idle for too long (2.8)', async (t) => {
    t.ok(await eventually(async () => (await objects('alice/idle/')).includes('idle'), 20_000 * longer))
    t.ok(await eventually(async () => (await objects('alice/expiring/')).includes('expiring'), 25_000 * longer))
    t.match(seen, { s3: { syncOnTerminate: true, delete: false } })
  })
})
