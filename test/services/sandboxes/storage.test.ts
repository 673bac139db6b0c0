import t from 'tap'
import type { Account } from '../../../schemas/account.js'
import { checkStorage, planStorage } from '../../../services/sandboxes/storage.js'

t.test('An account uses its own buckets, prefixes and secrets, and nothing that looks like them (2.3, 9.3)', async (t) => {
  const account = {
    id: 'acme',
    s3: [{ bucket: 'work', keyPrefix: 'acme' }, { bucket: 'team-*', secretName: 'acme-*', keyPrefix: 'x/{account}', region: 'eu-1' },
      { bucket: 'ext', endpointUrl: 'https://s3.acme.io' }]
  } as Account
  const flags = { readOnly: true, initialize: true, syncOnTerminate: true, syncAfterRun: false, versioned: false }
  const plan = (spec: object) => planStorage(account, { ...flags, ...spec } as never)
  t.match(plan({ bucket: 'work' }), { bucket: 'work', prefix: 'acme/' })
  t.match(plan({ bucket: 'work', keyPrefix: 'acme/a/b' }), { prefix: 'acme/a/b/' })
  t.match(plan({ bucket: 'team-1', secretName: 'acme-aws', mountPath: '/m//x/' }), {
    prefix: 'x/acme/', secretName: 'acme-aws', region: 'eu-1', mountPath: '/m/x'
  })
  t.match(plan({ bucket: 'ext' }), { prefix: '', endpointUrl: 'https://s3.acme.io' })
  t.match(plan({ bucket: 'ext', endpointUrl: 'https://s3.acme.io/' }), { endpointUrl: 'https://s3.acme.io' })
  const forbidden = [
    { bucket: 'works' }, { bucket: 'work', keyPrefix: 'acme-evil' }, { bucket: 'work', keyPrefix: '' }, { bucket: 'team-1' },
    { bucket: 'work', keyPrefix: 'ACME/' }, { bucket: 'work', secretName: 'acme-aws' }, { bucket: 'ext', endpointUrl: 'http://127.0.0.1' }
  ]
  for (const spec of forbidden) t.throws(() => plan(spec), { code: 'FORBIDDEN' }, JSON.stringify(spec))
  for (const keyPrefix of ['acme/../x', '/acme', 'acme//', 'acme/.', '..', 'acme/.modal-sandbox']) {
    t.throws(() => plan({ bucket: 'work', keyPrefix }), { code: 'BAD_REQUEST' }, keyPrefix)
  }
  t.throws(() => plan({ bucket: 'work', mountPath: '/m' }), { code: 'BAD_REQUEST', message: /secretName/ })
  checkStorage(account, plan({ bucket: 'ext' }))
  t.throws(() => checkStorage({ ...account, s3: [] }, plan({ bucket: 'ext' })), { code: 'FORBIDDEN' })
})
