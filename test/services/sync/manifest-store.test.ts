import { gzipSync } from 'node:zlib'
import t from 'tap'
import { decodeManifest, encodeManifest, readPageEnds } from '../../../services/sync/manifest-store.js'
import { saved } from '../../helpers/entries.js'

t.test('A manifest survives its way, and what makes no sense in one is left out', async (t) => {
  const all = new Map([['a', saved({ hashes: ['0'.repeat(64)] })], ['d', saved({ type: 'directory', etag: '' })],
    ['l\n"', saved({ type: 'symlink', own: false, key: '.modal-sandbox/saves/v/l' })]])
  const superseded = new Map([['old/', { etag: 'r', storedAt: 1_700_000_000_123 }]])
  const manifest = { savedAt: '2026-01-02T03:04:05.678Z', entries: all, superseded }
  t.strictSame(await decodeManifest(await encodeManifest(manifest)), manifest)
  const head = JSON.stringify({ modalSandbox: 1, savedAt: manifest.savedAt })
  const lines = (...texts: string[]) => decodeManifest(gzipSync([head, ...texts].join('\n')))
  const good = '["ok","f",420,3,"1","e",[],0,1]'
  t.strictSame([...(await lines('["a","x",1,1,"1","e",[],0,1]', '["a","f",-1,1,"1","e",[],0,1]', '{}', '["a","f",9999,1,"1","e",[],0,1]',
    '["a","f",1,1,"now","e",[],0,1]', '["a","f",1,1,"1","e",["zz"],0,1]', '["a","e",-1]', '["a",1,1]', '5', good)).entries.keys()], ['ok'])
  for (const bad of [Buffer.from('no gzip'), gzipSync('no json'), gzipSync(`{"modalSandbox":2}\n${good}`), gzipSync(`${head}\n[`), Buffer.alloc(0)]) {
    t.equal((await decodeManifest(bad)).entries.size, 0)
  }
})

t.test('A manifest tells first where pages of the list end, whatever of the rest can be read', async (t) => {
  const paths = Array.from({ length: 2000 }, (_, n) => `dir/${String(n).padStart(4, '0')}`)
  const entries = new Map(paths.map((path) => [path, saved({})]))
  entries.set('dir', saved({ type: 'directory', etag: '' }))
  const whole = await encodeManifest({ savedAt: new Date().toISOString(), entries, superseded: new Map() })
  t.strictSame(await readPageEnds(whole), ['dir/0948', 'dir/1898'], 'the manifest itself has a key, a plain directory has none')
  t.strictSame(await readPageEnds(whole.subarray(0, whole.length - 9)), ['dir/0948', 'dir/1898'], 'although it is cut off')
  t.strictSame(await readPageEnds(Buffer.from('no gzip')), [])
  t.strictSame(await readPageEnds(Buffer.alloc(0)), [])
  const savedAt = new Date().toISOString()
  for (const pageEnds of ['a', [1], { 0: 'a' }]) {
    const bytes = gzipSync(JSON.stringify({ modalSandbox: 1, savedAt, pageEnds }))
    t.strictSame(await readPageEnds(bytes), [], JSON.stringify(pageEnds))
  }
})
