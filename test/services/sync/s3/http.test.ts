import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import t from 'tap'
import { escapeKey, md5Of } from '../../../../services/sync/s3/http.js'
import { ObjectStore } from '../../../../services/sync/s3/object-store.js'

t.test('A key is escaped byte by byte, but for its slashes', async (t) => {
  t.equal(escapeKey('a b/ü+%#?&=\'()*!~'), 'a%20b/%C3%BC%2B%25%23%3F%26%3D%27%28%29%2A%21~')
})

t.test('An ETag is the MD5 of an object in one piece that is not encrypted with a key of KMS or of a client', async (t) => {
  const md5 = '0123456789abcdef0123456789abcdef'
  const etag = `"${md5}"`
  const encryption = 'x-amz-server-side-encryption'
  t.equal(md5Of({ etag }), md5)
  t.equal(md5Of({ etag, [encryption]: 'AES256' }), md5)
  t.equal(md5Of({ etag: '"another"' }, md5), md5, 'the listed one counts')
  for (const headers of [
    {}, { etag: `"${md5}-2"` }, { etag: '"another"' }, { etag: etag.toUpperCase() }, { etag, [encryption]: 'aws:kms' },
    { etag, [encryption]: 'aws:kms:dsse' }, { etag, [`${encryption}-customer-algorithm`]: 'AES256' }
  ]) t.equal(md5Of(headers), undefined, JSON.stringify(headers))
})

t.test('A connection that ends early, stalls or talks nonsense is an error, never a short file', async (t) => {
  let answer = ''
  let hang = false
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', () => { if (!hang) socket.end(answer) })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const credentials = { get: async () => ({ accessKeyId: 'a', secretAccessKey: 'b' }), renew () {} }
  const stop = new AbortController()
  const store = new ObjectStore({
    bucket: 'bucket', prefix: '', region: 'r', endpoint, forcePathStyle: true, idleMs: 100, credentials, signal: stop.signal
  })
  t.teardown(() => store.close())
  const short = AbortSignal.timeout(30_000)
  short.addEventListener('abort', () => stop.abort())
  answer = 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort'
  await t.rejects(store.get('x'), { name: 'S3Error', kind: 'transient' })
  answer = 'HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n'
  await t.rejects(store.get('x'), { code: 'Http404', kind: 'fatal' })
  hang = true
  setTimeout(() => stop.abort(new Error('stopped')), 400)
  await t.rejects(store.get('x'), { message: 'stopped' })
})
