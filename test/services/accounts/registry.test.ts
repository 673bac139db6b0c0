import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import t from 'tap'
import { digest } from '../../../lib/ids.js'
import type { Account } from '../../../schemas/account.js'
import { AccountRegistry } from '../../../services/accounts/registry.js'
import { accountOf } from '../../helpers/account.js'

const account = (id: string, extra: Partial<Account> = {}): Account => accountOf({
  id, apiKeys: [`sha256:${digest(`key-of-${id}`)}`], limits: { sandboxes: 1, runs: 1, streams: 1, requestsPerMinute: 60 }, ...extra
})
const noTokens = { secret: undefined, jwksUrl: undefined, issuer: undefined, audience: undefined, accountClaim: 'sub' }

t.test('API keys are stored as digests only', async (t) => {
  const registry = new AccountRegistry([account('acme'), account('other')], noTokens)
  t.equal((await registry.authenticate('key-of-acme')).id, 'acme')
  await t.rejects(registry.authenticate('key-of-nobody'), { code: 'UNAUTHENTICATED' })
  await t.rejects(registry.authenticate(`sha256:${digest('key-of-acme')}`), { code: 'UNAUTHENTICATED' })
  await t.rejects(registry.authenticate('a.b.c'), { code: 'UNAUTHENTICATED' })
})

t.test('Tokens signed with the shared secret name their account', async (t) => {
  const secret = 'x'.repeat(32)
  const sign = async (claims: object, options: { alg?: string, key?: string, expires?: string } = {}) =>
    await new SignJWT({ ...claims }).setProtectedHeader({ alg: options.alg ?? 'HS256' })
      .setExpirationTime(options.expires ?? '5m').sign(new TextEncoder().encode(options.key ?? secret))
  const registry = new AccountRegistry([account('acme'), { ...account('*'), apiKeys: [] }],
    { ...noTokens, secret, issuer: 'idp', audience: 'us', accountClaim: 'org' })
  const claims = { org: 'acme', iss: 'idp', aud: 'us' }
  t.equal((await registry.authenticate(await sign(claims))).limits.sandboxes, 1)
  t.equal((await registry.authenticate(await sign({ ...claims, org: 'auth0|7' }))).id, 'auth0|7', 'the * entry is a template')
  const refused = [
    sign(claims, { key: 'y'.repeat(32) }), sign(claims, { alg: 'HS512' }), sign(claims, { expires: '-1m' }),
    sign({ ...claims, iss: 'else' }), sign({ ...claims, aud: 'else' }), sign({ ...claims, org: '*' }), sign({ iss: 'idp', aud: 'us' })
  ]
  for (const token of refused) await t.rejects(registry.authenticate(await token), { code: 'UNAUTHENTICATED' })
  const closed = new AccountRegistry([account('acme')], { ...noTokens, secret })
  await t.rejects(closed.authenticate(await sign({ sub: 'stranger' })), { code: 'FORBIDDEN' })
  const open = new AccountRegistry(undefined, { ...noTokens, secret })
  t.match(await open.authenticate(await sign({ sub: 'anyone' })), { id: 'anyone', limits: { sandboxes: 10 } })
})

t.test('Tokens of an identity provider are verified with its published keys', async (t) => {
  const { publicKey, privateKey } = await generateKeyPair('ES256')
  const jwks = { keys: [{ ...await exportJWK(publicKey), kid: 'k', alg: 'ES256' }] }
  const server = createServer((_request, response) => response.setHeader('content-type', 'application/json').end(JSON.stringify(jwks)))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const jwksUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`
  const registry = new AccountRegistry(undefined, { ...noTokens, jwksUrl })
  const token = await new SignJWT({ sub: 'acme' }).setProtectedHeader({ alg: 'ES256', kid: 'k' })
    .setExpirationTime('5m').sign(privateKey)
  t.equal((await registry.authenticate(token)).id, 'acme')
})
