import t from 'tap'
import { ObjectStore } from '../../../../services/sync/s3/object-store.js'
import { startFaultProxy } from '../../../helpers/fault-proxy.js'
import { noS3, startS3 } from '../../../helpers/s3.js'

t.test('The objects of a prefix, whatever becomes of single requests', { skip: noS3 }, async (t) => {
  const s3 = await startS3()
  const proxy = await startFaultProxy(s3.endpoint)
  await s3.createBucket('bucket')
  let renewals = 0
  const { region } = s3
  const store = new ObjectStore({
    bucket: 'bucket',
    prefix: 'p/',
    region,
    endpoint: proxy.endpoint,
    forcePathStyle: true,
    credentials: { get: async () => s3, renew () { renewals++ } }
  })
  t.teardown(async () => {
    store.close()
    await proxy.close()
    await s3.close()
  })

  await t.test('Credentials that expire are renewed, also where the refusal cannot say so (2.7)', async (t) => {
    const { etag } = await store.put('key', Buffer.from('content'), { mode: '0100644' })
    await store.put('empty', Buffer.alloc(0))
    const expire = (method: string) => {
      renewals = 0
      proxy.use((request) => renewals === 0 && request.method === method
        ? { kind: 'refused', status: 400, code: 'ExpiredToken' }
        : undefined)
    }
    const all = () => proxy.use(() => renewals === 0 ? { kind: 'refused', status: 400, code: 'ExpiredToken' } : undefined)

    for (const key of ['key', 'empty']) {
      expire('nothing')
      const seen = await store.head(key)
      renewals = 0
      all()
      t.strictSame(await store.head(key), seen, 'of a HEAD, which has no body')
      t.ok(renewals > 0)
      expire('HEAD')
      t.strictSame(await store.head(key), seen, 'or when they were renewed meanwhile')
    }
    renewals = 0
    all()
    t.equal(await store.head('none'), undefined)
    renewals = 0
    all()
    t.match(await store.addMetadata('key', etag, { mode: '0100755' }), /^\w+$/, 'before metadata are added')
    t.match((await store.head('key'))!.metadata, { mode: '0100755' })
  })

  await t.test('An upload in parts whose start was carried out, but not answered, is not left open', async (t) => {
    const other = await store.startUpload('large.txt', {})
    let starts = 0
    proxy.use(({ method }) => method === 'POST' && ++starts === 1 ? { kind: 'lost' } : undefined)
    const upload = await store.startUpload('large', {})
    t.equal(starts, 2)
    t.strictSame((await store.pendingUploads()).map(({ key }) => key), ['large', 'large.txt'])
    await upload.putPart(1, Buffer.from('content'))
    await upload.complete()
    await other.abort()
    t.equal((await store.get('large')).body.toString(), 'content')
    t.strictSame(await store.pendingUploads(), [])
  })
})
