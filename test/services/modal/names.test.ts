import t from 'tap'
import { digest } from '../../../lib/ids.js'
import { appName, isVolumeOf, volumeName } from '../../../services/modal/names.js'

t.test('No account id or volume name collides with one of another account (1.4)', async (t) => {
  const ids = ['a', 'a-b', 'A', 'ä', '../a', 'a.b', 'auth0|1', 'x'.repeat(200), `sha256.${digest('ä', 24)}`]
  const names = ids.flatMap((id) => [appName(id), volumeName(id, 'b'), volumeName(id, 'b-c')])
  t.equal(new Set(names).size, names.length)
  for (const name of names) t.match(name, /^[A-Za-z0-9._-]{1,64}$/)
  t.ok(volumeName('ä', 'v'.repeat(32)).length <= 64)
})

t.test("An account's volumes are told from those of accounts whose names begin alike", async (t) => {
  const ids = ['acme', 'acme-2', 'sha256', 'Ein Konto', 'noch eins']
  for (const owner of ids) {
    for (const id of ids) t.equal(isVolumeOf(id, volumeName(owner, 'work')), id === owner, `${id} ${owner}`)
  }
  for (const foreign of ['work', 'acme', 'acmework', 'acme.a.b']) t.notOk(isVolumeOf('acme', foreign))
})
