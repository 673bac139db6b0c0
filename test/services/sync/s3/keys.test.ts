import t from 'tap'
import {
  isObsoletePack, keyProblem, newVersion, packKey, packOf, pathProblem, savedAtOf, versionKey, versionOf
} from '../../../../services/sync/s3/keys.js'

t.test('Keys that are no paths are known, and so are paths that are no keys', async (t) => {
  for (const key of ['a', 'a/b', 'a/', '...', 'a b', 'a\\..\\b', '..a', 'ü/👩', 'new\nline']) t.equal(keyProblem(key), undefined, key)
  for (const key of ['', '/', '/a', 'a//b', '..', '../a', 'a/../b', './a', 'a/.', 'a\0b', 'a//']) {
    t.match(keyProblem(key), { code: 'KEY_UNSAFE' }, JSON.stringify(key))
  }
  t.match(keyProblem('x'.repeat(256)), { code: 'NAME_TOO_LONG' })
  t.equal(pathProblem('a\tb\nc', 'p/'), undefined)
  t.equal(pathProblem('a/b/', 'p/'), undefined)
  for (const path of ['', '..', '../a', 'a/../b', './a', 'a//b', '/a']) t.match(pathProblem(path, 'p/'), { code: 'NAME_NOT_CARRIED' }, path)
  t.match(pathProblem('.modal-sandbox', ''), { code: 'NAME_RESERVED' })
  t.match(pathProblem('a\u0001', ''), { code: 'NAME_NOT_CARRIED' })
  t.match(pathProblem(`${'x'.repeat(250)}/`.repeat(5), ''), { code: 'NAME_TOO_LONG' })
  const version = newVersion(new Date('2026-01-02T03:04:05.678Z'))
  t.equal(versionOf(versionKey(version)), version)
  t.equal(savedAtOf(version), '2026-01-02T03:04:05.678Z')
  t.equal(versionOf('.modal-sandbox/versions/x.gz'), undefined)
  const hash = 'ab'.repeat(32)
  t.equal(packOf(packKey(hash)), hash)
  t.same([packOf(`.modal-sandbox/packs/${hash}`), isObsoletePack(`.modal-sandbox/packs/${hash}`)], [undefined, true])
  t.same([packOf(`${hash}.pack`), isObsoletePack(hash), isObsoletePack(packKey(hash))], [undefined, false, false])
})
