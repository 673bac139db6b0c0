import { createCipheriv } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { digest } from '../../../lib/ids.js'
import { download } from '../../../services/sync/download.js'
import { decodeManifest, encodeManifest } from '../../../services/sync/manifest-store.js'
import { isObsoletePack, manifestKey, packOf } from '../../../services/sync/s3/keys.js'
import { ObjectStore } from '../../../services/sync/s3/object-store.js'
import { upload } from '../../../services/sync/upload.js'
import { startFaultProxy } from '../../helpers/fault-proxy.js'
import { LocalWorkspace } from '../../helpers/local-workspace.js'
import { noS3, startS3 } from '../../helpers/s3.js'

const count = 40

t.test('Packs of an earlier format, enciphered ones, are not used, and are replaced by the next upload', { skip: noS3 }, async (t) => {
  const s3 = await startS3()
  const proxy = await startFaultProxy(s3.endpoint)
  const root = await mkdtemp(join(tmpdir(), 'obsolete-packs-'))
  const prefix = 'work/'
  await s3.createBucket('bucket')
  const store = new ObjectStore({
    bucket: 'bucket',
    prefix,
    region: s3.region,
    endpoint: proxy.endpoint,
    forcePathStyle: true,
    credentials: { get: async () => s3, renew () {} }
  })
  t.teardown(async () => {
    store.close()
    await proxy.close()
    await s3.close()
    await rm(root, { recursive: true })
  })
  const at = (directory: string) => ({ workspace: new LocalWorkspace(join(root, directory)), store, prefix })
  const packKeys = async () => {
    const keys: string[] = []
    for await (const page of store.list('.modal-sandbox/packs/')) keys.push(...page.map(({ key }) => key))
    return keys
  }
  const objectsFetched = async (directory: string) => {
    let fetched = 0
    proxy.use(({ method, url }) => { if (method === 'GET' && !url.includes('list-type')) fetched++; return undefined })
    t.match(await download(at(directory)), { files: count, verified: count, failed: { length: 0 } })
    proxy.use()
    for (let n = 0; n < count; n++) t.equal(await readFile(join(root, directory, `${n}`), 'utf8'), `content of ${n}`)
    return fetched
  }

  await mkdir(join(root, 'a'))
  for (let n = 0; n < count; n++) await writeFile(join(root, 'a', `${n}`), `content of ${n}`)
  await sleep(30)
  t.match(await upload(at('a')), { files: count, failed: { length: 0 } })
  const [key] = await packKeys()
  t.ok(packOf(key!))

  // What an earlier version would have stored.
  const { body } = await store.get(key!)
  const manifest = await decodeManifest((await store.get(manifestKey)).body)
  const enciphered = Buffer.concat([...manifest.entries.values()]
    .toSorted((one, other) => one.packed!.start - other.packed!.start)
    .map(({ size, hashes, packed }) => createCipheriv('aes-256-ctr', Buffer.from(hashes[0]!, 'hex'), Buffer.alloc(16))
      .update(body.subarray(packed!.start, packed!.start + size))))
  const pack = digest(enciphered)
  await store.put(`.modal-sandbox/packs/${pack}`, enciphered)
  await store.delete([key!])
  const entries = new Map([...manifest.entries].map(([path, saved]) =>
    [path, { ...saved, packed: { ...saved.packed!, pack } }]))
  await store.put(manifestKey, await encodeManifest({ ...manifest, entries }))
  t.ok((await packKeys()).every(isObsoletePack))

  t.equal(await objectsFetched('b'), 1 + count, 'the manifest, and every file from its own object')
  t.match(await upload(at('a')), { files: 0, skipped: count, failed: { length: 0 } })
  t.strictSame(await packKeys(), [key], 'the same contents give the same pack')
  t.equal(await objectsFetched('c'), 2, 'the manifest and a pack')
})
