import t from 'tap'
import { accountOf } from '../helpers/account.js'
import { ModalClient } from 'modal'
import { parseConfig } from '../../config.js'
import { skip, startService } from '../helpers/service.js'
import { Creator } from '../../services/sandboxes/create.js'
import { OwnedSandboxes } from '../../services/sandboxes/owned.js'
import { decodeTags } from '../../services/sandboxes/tags.js'

t.test('Where Modal has the key, a sandbox is created with a policy that puts it into requests to the model only', { skip }, async (t) => {
  const service = await startService()
  t.teardown(service.close)
  const { client, backend } = service.app.modal
  const created: any[] = []
  const spy = new Proxy(client, {
    get (target, name) {
      if (name !== 'sandboxes') return Reflect.get(target, name)
      return new Proxy(target.sandboxes, {
        get (sandboxes, method) {
          if (method !== 'create') return Reflect.get(sandboxes, method).bind(sandboxes)
          return async (_app: unknown, _image: unknown, params: unknown) => {
            created.push(params)
            throw new Error('seen')
          }
        }
      })
    }
  }) as ModalClient
  const config = parseConfig({ CLAUDE_SECRET_NAME: 'test-one' })
  const { replaceKey } = await import('../../plugins/modal.js')
  const creator = new Creator({
    client: spy,
    owned: new OwnedSandboxes(client),
    image: { backend, claudeImage: undefined, claudeVersion: '1.0.0', claudeRegistry: 'http://registry.invalid' },
    timeouts: config.sandbox,
    deployment: 'd',
    modelHost: 'us.example',
    replacement: replaceKey(client, config),
    initialize: async () => {}
  })
  const account = accountOf({ id: 'a' })
  const log = { info () {}, warn () {}, error () {} }
  await t.rejects(creator.create(account, { network: { domainAllowlist: ['a.example'] } }, { log }))
  const { secretId } = await client.secrets.fromName('test-one')
  t.strictSame(created[0].experimentalOutboundPolicy._toProto(), {
    headerReplacements: [{ domain: 'api.anthropic.com', secretId, headers: { 'x-api-key': '$ANTHROPIC_API_KEY' } }]
  }, 'as it goes over the wire')
  t.strictSame(created[0].outboundDomainAllowlist, ['a.example', 'us.example'], 'Claude reaches the gateway')
  await t.rejects(creator.create(account, { network: { cidrAllowlist: ['10.0.0.0/8'] } }, { log }))
  t.match(created[1], { outboundCidrAllowlist: ['10.0.0.0/8'], outboundDomainAllowlist: ['us.example'] }, 'also beside addresses')
  t.equal(created[0].secrets.length, 0, 'the secret itself is not in the sandbox')
  t.match(decodeTags(created[0].tags), { modelDomain: 'api.anthropic.com' })
})

t.test('The emulator cannot do that, and says so; a sandbox from before is named as such', { skip }, async (t) => {
  const service = await startService({ CLAUDE_SECRET_NAME: 'test-one' })
  t.teardown(service.close)
  const response = await service.request('/api/modal/sandbox', { method: 'POST', json: {} })
  t.match([response.status, await response.json()], [422, { code: 'NOT_SUPPORTED', message: /outbound policies/ }])
  const { perRun } = service.app.model
  const open = (owned: object) => perRun!.open({ owned, runId: 'run_1', account: {} } as never)
  await t.rejects(open({}), { code: 'CLAUDE_FAILED', message: /created before/ })
  const { env, settings } = await open({ modelDomain: 'api.anthropic.com' })
  t.match(env, { ANTHROPIC_API_KEY: 'replaced-by-modal', ANTHROPIC_BASE_URL: 'https://api.anthropic.com' })
  t.notOk('ANTHROPIC_API_KEY' in settings)
})

t.test('With CLAUDE_KEY_IN_SANDBOX the key is in the sandbox, as is said at start', { skip }, async (t) => {
  const service = await startService({ ANTHROPIC_API_KEY: 'sk-ant-mine', CLAUDE_KEY_IN_SANDBOX: 'true' })
  t.teardown(service.close)
  t.match(service.app.model, { env: { ANTHROPIC_API_KEY: 'sk-ant-mine' }, secrets: ['sk-ant-mine'], perRun: undefined })
  t.equal((await fetch(`${service.url}/model/v1/messages`, { method: 'POST', body: '{}' })).status, 404)
})
