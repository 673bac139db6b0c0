import t from 'tap'
import { ByteReader, EndOfStream } from '../../lib/byte-reader.js'

t.test('A stream is read by exact numbers of bytes, however it is cut', async (t) => {
  const source = async function * (...chunks: string[]) { for (const chunk of chunks) yield Buffer.from(chunk) }
  const reader = new ByteReader(source('ab', '', 'c/', '/d\0\0', '\0e', 'f'))
  t.equal((await reader.until('//'))?.toString(), 'abc')
  t.equal((await reader.take(1)).toString(), 'd')
  await reader.skipZeros()
  t.equal((await reader.some(9))?.toString(), 'e')
  await reader.skip(1)
  t.equal(await reader.until('x'), undefined)
  await t.rejects(reader.take(1), EndOfStream)
  await t.rejects(new ByteReader(source('abc')).until('x'), EndOfStream)
  await t.rejects(new ByteReader(source('abc')).skip(4), EndOfStream)
})
