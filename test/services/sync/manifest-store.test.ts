import { gzipSync } from 'node:zlib'
import t from 'tap'
import { decodeManifest, encodeManifest, readPageEnds } from '../../../services/sync/manifest-store.js'
import { saved } from '../../helpers/entries.js'

t.test('A manifest survives its way, and what makes no sense in one is left out', async (t) => {
  const all = new Map([['a', saved({ hashes: ['0'.repeat(64)] })], ['d', saved({ type: 'directory', etag: '' })],
    ['l\n"', saved({ type: 'symlink', own: false, key: '.modal-sandbox/saves/v/l' })]])
  const superseded = new Map([['old/', { etag: 'r', storedAt: 1_700_000_000_123 }]])
  const manifest = { savedAt: '2026-01-02T03:04:05.678Z', session: 'sb-1', entries: all, superseded }
  t.strictSame(await decodeManifest(await encodeManifest(manifest)), { ...manifest, state: 'whole' })
  const head = JSON.stringify({ modalSandbox: 1, savedAt: manifest.savedAt })
  const lines = (...texts: string[]) => decodeManifest(gzipSync([head, ...texts].join('\n')))
  const good = '["ok","f",420,3,"1","e",[],0,1]'
  t.strictSame([...(await lines('["a","x",1,1,"1","e",[],0,1]', '["a","f",-1,1,"1","e",[],0,1]', '{}', '["a","f",9999,1,"1","e",[],0,1]',
    '["a","f",1,1,"now","e",[],0,1]', '["a","f",1,1,"1","e",["zz"],0,1]', '["a","e",-1]', '["a",1,1]', '5', good)).entries.keys()], ['ok'])
  for (const bad of [Buffer.from('no gzip'), gzipSync('no json'), gzipSync(`{"modalSandbox":2}\n${good}`), gzipSync(`${head}\n[`), Buffer.alloc(0)]) {
    const { state, entries } = await decodeManifest(bad)
    t.strictSame([state, entries.size], ['partial', 0])
  }
})

t.test('A line that cannot be read, or is not there, costs no other line, and the manifest is not whole', async (t) => {
  const pack = '0'.repeat(64)
  const head = (entries: number) => JSON.stringify({ modalSandbox: 1, entries, savedAt: '2026-01-02T03:04:05.678Z', packs: [pack] })
  const [one, two] = ['["1","f",420,3,"1","e",[],0,1]', '["2","f",420,3,"1","e",[],0,1,0,0,7]']
  const read = async (...lines: string[]) => {
    const { state, entries } = await decodeManifest(gzipSync(lines.join('\n')))
    return `${state} ${[...entries.keys()].join()}`
  }
  t.equal(await read(head(2), one, two, '["old","e",1]'), 'whole 1,2')
  for (const broken of ['["x","f",420', 'x', '', `${one},${two}`, '["x","f",420,3,"1","e",[],0,1,0,1,7]'.replace('"x"', '"1"'), '["x",1]']) {
    t.equal(await read(head(2), one, broken, two), 'partial 1,2', broken)
  }
  t.equal(await read(head(3), one, two), 'partial 1,2', 'one is missing')
  const whole = gzipSync([head(2), one, two].join('\n'))
  t.match(await decodeManifest(whole.subarray(0, -4)), { state: 'partial' }, 'it is cut off')
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
