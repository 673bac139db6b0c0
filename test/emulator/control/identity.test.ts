import { createLocalJWKSet, jwtVerify } from 'jose'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { localApp, openEmulator } from '../../helpers/emulator.js'
import { run } from '../../helpers/sdk.js'

const { emulator, skip } = await openEmulator(t)

t.test('a sandbox that asks for one has an identity token, signed by the emulator; others have none', { skip }, async (t) => {
  const { app, create } = await localApp(emulator.modal(), 'identities')
  const show = ['sh', '-c', 'printenv MODAL_IDENTITY_TOKEN || echo UNSET']
  t.equal((await run(await create(), show)).stdout, 'UNSET\n')
  const sandbox = await create({ includeOidcIdentityToken: true, timeoutMs: 60_000 })
  const token = (await run(sandbox, show)).stdout.trim()
  const jwks = JSON.parse(await readFile(join(emulator.dataDir, 'identity', 'jwks.json'), 'utf8'))
  t.equal(jwks.keys[0].d, undefined, 'the public half')
  t.equal((await stat(join(emulator.dataDir, 'identity', 'key.pem'))).mode & 0o777, 0o600)
  const { payload } = await jwtVerify(token, createLocalJWKSet(jwks), { issuer: 'modal-emulator', audience: 'oidc.modal.com' })
  t.match(payload, { app_id: app.appId, app_name: 'identities', environment_name: 'main', sandbox_id: sandbox.sandboxId })
  t.equal(payload.exp! - payload.iat!, 60)
})
