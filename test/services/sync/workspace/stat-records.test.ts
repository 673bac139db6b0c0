import t from 'tap'
import { ByteReader, EndOfStream } from '../../../../lib/byte-reader.js'
import { readStatRecords, type StatRecord } from '../../../../services/sync/workspace/stat-records.js'

t.test('Records of a listing are understood whatever their names, and however the stream is cut', async (t) => {
  const fields = 'ff 12 1700000000.123456789 1700000001.5 1000 100'
  const records = ['.//41ed 4096 1 2 0 0', `./a/b c//81${fields}`, `./line\nbreak 1 2 3//81${fields}`, `./ü/👩\ufffd//a1${fields}`,
    './pipe//11a4 0 1 1 0 0']
  const notUtf8 = Buffer.from(`./\xff//81${fields}\n`, 'latin1')
  const bytes = Buffer.concat([Buffer.from(records.map((record) => `${record}\n`).join('')), notUtf8, Buffer.from('//\nrest')])
  for (const size of [1, 7, 64, bytes.length]) {
    const chunks = async function * () {
      for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
    }
    const reader = new ByteReader(chunks())
    const looks: StatRecord[] = []
    await readStatRecords(reader, (look) => { looks.push(look) })
    t.strictSame(looks.map(({ path, type, validName }) => [path, type, validName]), [
      ['.', 'directory', true], ['a/b c', 'file', true], ['line\nbreak 1 2 3', 'file', true], ['ü/👩\ufffd', 'symlink', true],
      ['pipe', 'special', true], ['\ufffd', 'file', false]
    ], `${size}`)
    t.match(looks[1], { mode: 0o777, size: 12, mtime: '1700000000.123456789', ctime: '1700000001.5', uid: 1000, gid: 100 })
    t.equal((await reader.take(4)).toString(), 'rest', 'what follows is not taken')
    await t.rejects(readStatRecords(reader, () => {}), EndOfStream)
  }
})
