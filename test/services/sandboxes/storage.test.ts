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
  const roleArn = 'arn:aws:iam::123456789012:role/modal'
  const mounted = (place: object) =>
    planStorage({ ...account, s3: [{ bucket: 'b', ...place }] }, { ...flags, bucket: 'b', mountPath: '/m' } as never)
  t.match(mounted({ roleArn }), { roleArn, secretName: undefined }, 'Modal mounts with a role')
  t.equal(plan({ bucket: 'work' }).roleArn, undefined)
  for (const endpointUrl of ['http://127.0.0.1:9000', 'http://[::1]:9000', 'http://minio:9000', 'http://localhost']) {
    t.throws(() => mounted({ roleArn, endpointUrl }), { code: 'BAD_REQUEST', message: /^body\.s3\.mountPath: / }, endpointUrl)
  }
  t.match(mounted({ secretName: 'aws', endpointUrl: 'https://a1.r2.cloudflarestorage.com' }), { mountPath: '/m' })
  t.throws(() => checkStorage({ ...account, s3: [] }, plan({ bucket: 'ext' })), { code: 'FORBIDDEN' })
})
