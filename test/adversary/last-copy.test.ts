import t from 'tap'
import { digest } from '../../lib/ids.js'
import { noFaults, startFaultProxy, type Fault } from '../helpers/fault-proxy.js'
import { noS3, s3Settings, startS3 } from '../helpers/s3.js'
import { accountIds, keys, skip, startService } from '../helpers/service.js'

const path = '/api/modal/sandbox'
const refused: Fault = { kind: 'refused', status: 403, code: 'AccessDenied' }

t.test('the last copy of a workspace', { skip: skip || noFaults || noS3 }, async (t) => {
  const s3 = await startS3()
  await s3.createBucket('work')
  const proxy = await startFaultProxy(s3.endpoint)
  const service = await startService({
    ACCOUNTS: JSON.stringify([{
      id: accountIds.alice, apiKeys: [`sha256:${digest(keys.alice)}`], s3: [{ bucket: 'work' }], limits: { requestsPerMinute: 100_000 }
    }]),
    ...s3Settings({ ...s3, endpoint: proxy.endpoint })
  })
  t.teardown(async () => {
    await service.close()
    await proxy.close()
    await s3.close()
  })
  const request = async (url: string, options: Parameters<typeof service.request>[1] = {}) => {
    const response = await service.request(url, options)
    return { status: response.status, body: await response.json() as any }
  }
  const created = async (keyPrefix: string, more: object = {}) => {
    const { status, body } = await request(path, { method: 'POST', json: { s3: { bucket: 'work', keyPrefix, initialize: false }, ...more } })
    if (status !== 200) throw new Error(JSON.stringify(body))
    return body.id as string
  }
  const sh = async (id: string, script: string) => {
    const { body } = await request(`${path}/${id}/exec`, {
      method: 'POST', json: { command: ['sh', '-c', script] }, headers: { accept: 'application/json' }
    })
    return body.stdout as string
  }
  const end = async (id: string, query = '') => await request(`${path}/${id}${query}`, { method: 'DELETE' })
  const failing = (fault: Fault = refused) => { proxy.use(() => fault) }
  t.beforeEach(() => { proxy.use() })

  await t.test('DELETE while S3 is down is refused, says why, keeps the sandbox, and succeeds when S3 is back (2.8, 5.4, 5.5)', async (t) => {
    const id = await created('down')
    await sh(id, 'echo precious > work')
    failing({ kind: 'refused', status: 503, code: 'ServiceUnavailable' })
    const { status, body } = await end(id)
    t.match({ status, body }, {
      status: 503,
      body: {
        code: 'WORKSPACE_NOT_STORED',
        step: 'sync',
        message: /kept: S3 cannot be reached/,
        hint: /force/,
        steps: [{ step: 'runs', ok: true }, { step: 'stop', ok: true }, { step: 'sync', ok: false }]
      }
    })
    t.match((await request(`${path}/${id}`)).body, { status: 'running' })
    t.equal(await sh(id, 'cat work'), 'precious\n', 'it can be worked in')
    proxy.use()
    t.match(await end(id), { status: 200, body: { steps: [{}, {}, { step: 'sync', ok: true, report: { files: 1 } }, { ok: true }] } })
  })

  await t.test('DELETE is refused when single files could not be stored, and names them (2.5)', async (t) => {
    const id = await created('single')
    await sh(id, 'echo 1 > one; echo x > "$(printf \'bad\\001name\')"')
    const { status, body } = await end(id)
    t.match({ status, body }, {
      status: 503, body: { code: 'WORKSPACE_NOT_STORED', steps: [{}, {}, { step: 'sync', report: { files: 1, failed: [{}] } }] }
    })
    await sh(id, 'rm bad*')
    t.equal((await end(id)).status, 200)
  })

  await t.test('DELETE with force ends the sandbox whatever S3 says, and tells that nothing was stored', async (t) => {
    const id = await created('forced')
    await sh(id, 'echo lost > work')
    failing()
    t.match(await end(id, '?force=true'), {
      status: 200, body: { status: 'terminated', steps: [{}, {}, { step: 'sync', ok: false, error: String }, { step: 'terminate', ok: true }] }
    })
    t.match((await request(`${path}/${id}`)).body, { status: 'terminated' })
  })

  await t.test('DELETE without a sync, or with a volume that has the files, needs no S3', async (t) => {
    const [without, volume] = [await created('without'), await created('volume', { volume: { name: 'copy' } })]
    failing()
    t.match(await end(without, '?sync=false'), { status: 200, body: { steps: [{}, {}, { step: 'terminate' }] } })
    t.match(await end(volume), { status: 200, body: { steps: [{}, {}, { step: 'sync', ok: false }, { step: 'terminate', ok: true }] } })
  })

  await t.test('DELETE of a sandbox that has ended meanwhile is no error, whatever S3 says', async (t) => {
    const id = await created('ended')
    failing()
    const sandbox = await service.app.modal.client.sandboxes.fromId(id)
    await sandbox.terminate({ wait: true })
    t.match(await end(id), { status: 200, body: { released: { sandbox: false } } })
  })
})
