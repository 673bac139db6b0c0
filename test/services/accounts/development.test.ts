import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { digest } from '../../../lib/ids.js'
import { developmentAccount } from '../../../services/accounts/development.js'

t.test('The development key is created once, readable by its owner only', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'development-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  const first = await developmentAccount(dir)
  t.equal((await developmentAccount(dir)).apiKey, first.apiKey)
  t.match(readFileSync(join(dir, 'development-key'), 'utf8'), /^key_[0-9a-z]{20}$/)
  t.strictSame(first.account.apiKeys, [`sha256:${digest(first.apiKey)}`])
  await t.rejects(developmentAccount('/dev/null/x'), { code: /ENOTDIR|EEXIST/ })
})
