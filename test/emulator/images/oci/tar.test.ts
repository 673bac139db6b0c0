import { execFileSync, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { gzipSync } from 'node:zlib'
import { decompressed } from '../../../../emulator/images/oci/blob.js'
import { readTar } from '../../../../emulator/images/oci/tar.js'
import { eventually } from '../../../helpers/containers.js'
import { file, rawHeader, tarOf } from '../../../helpers/oci-image.js'

const noZstd = spawnSync('zstd', ['--version']).status === 0 ? false : 'zstd is not installed'

/** An archive in small pieces, and whether its reader has let go of it. */
function sourceOf (archive: Buffer) {
  const source = {
    isClosed: false,
    async * read () {
      try {
        for (let at = 0; at < archive.length; at += 1000) yield archive.subarray(at, at + 1000)
      } finally {
        source.isClosed = true
      }
    }
  }
  return source
}

async function pathsIn (archive: Buffer): Promise<string[]> {
  const paths: string[] = []
  for await (const [{ path }] of readTar(sourceOf(archive).read())) paths.push(path)
  return paths
}

t.test('Records of an extended header are read to their end, and refused when they have none', async (t) => {
  const archive = (records: string) => Buffer.concat([rawHeader('x', Buffer.from(records)), tarOf([file('given')])])
  t.same(await pathsIn(archive('16 path=renamed\n')), ['renamed'])
  for (const records of ['x', '16 path=renamed\nx', '\0\0\0', ' path=a\n', '0 path=a\n', '-9 path=a\n', '9.0 path=a\n', '1e1 path=a\n', '99 path=a\n', '5 path=a\n', '7 path=\n']) {
    await t.rejects(pathsIn(archive(records)), { name: 'ImageError', message: /extended header that cannot be read/ }, JSON.stringify(records))
  }
})

t.test('A header of a negative or impossible size is refused: it makes no room for another that fills the memory', async (t) => {
  const sizes = ['ff80'.padEnd(24, '0'), 'ff'.repeat(12), '80'.padEnd(24, 'f')]
  for (const flag of ['x', 'g', 'L', 'K']) {
    for (const size of sizes) {
      const archive = Buffer.concat([rawHeader(flag, Buffer.alloc(0), Buffer.from(size, 'hex')), tarOf([file('x')])])
      const refusal = { name: 'ImageError', message: /header of an impossible size/ }
      await t.rejects(pathsIn(archive), refusal, `${flag} ${size}`)
    }
  }
})

t.test('A source is closed when an archive is read to its end, refused, or left in the middle', async (t) => {
  const archive = tarOf([file('a', 'a'.repeat(5000)), file('b')])
  const [whole, refused, left] = [sourceOf(archive), sourceOf(Buffer.alloc(5000, 'x')), sourceOf(archive)]
  for await (const [{ path }] of readTar(whole.read())) t.ok(path)
  await t.rejects(async () => { for await (const [{ path }] of readTar(refused.read())) t.fail(path) }, { name: 'ImageError' })
  for await (const [{ path }] of readTar(left.read())) if (path === 'a') break
  t.same([whole, refused, left].map(({ isClosed }) => isClosed), [true, true, true])
})

for (const [name, compress, skip] of [
  ['plain', (data: Buffer) => data, false],
  ['gzip', (data: Buffer) => gzipSync(data), false],
  ['zstd', (data: Buffer) => execFileSync('zstd', ['-cq'], { input: data, maxBuffer: 2 ** 25 }), noZstd]
] as const) {
  t.test(`A layer that is left in the middle is closed below its decompression: ${name}`, { skip }, async (t) => {
    const source = sourceOf(compress(tarOf([file('a', randomBytes(4_000_000)), file('b')])))
    for await (const [{ path }] of readTar(decompressed(source.read()))) if (path === 'a') break
    t.ok(await eventually(async () => source.isClosed))
  })
}
