import t from 'tap'
import { mayUseSecret, planSandbox } from '../../../services/sandboxes/plan.js'
import { accountOf } from '../../helpers/account.js'

const account = accountOf({ id: 'acme', secrets: ['acme-*'] })
const recipe = { registry: 'local', layers: [] }
const defaults = { timeoutMs: 60_000, idleTimeoutMs: 30_000 }

t.test('The same request has the same fingerprint, whatever the order of its fields, and tells nothing of its values', async (t) => {
  const plan = (spec: object, key = 'k') => planSandbox(account, spec, key, recipe, defaults)
  const one = plan({ env: { A: 'hunter2', B: '2' }, name: 'n' }).record
  t.equal(plan({ name: 'n', env: { B: '2', A: 'hunter2' } }).record.fingerprint, one.fingerprint)
  t.not(plan({ name: 'n', env: { B: '2', A: 'x' } }).record.fingerprint, one.fingerprint)
  t.not(plan({ env: { A: 'hunter2', B: '2' }, name: 'n' }, 'other').record.fingerprint, one.fingerprint)
  t.notMatch(JSON.stringify(one), /hunter2/)
  t.match(plan({}).modalName, /^key\.[0-9a-f]{40}$/)
  t.match(planSandbox(account, {}, undefined, recipe, defaults).modalName, /^auto\.[a-z0-9]{20}$/)
})

t.test('A plan has defaults that Claude can live with, and clean paths', async (t) => {
  const { params, record } = planSandbox(account, { volume: { name: 'v', mountPath: '/a//b/' } }, undefined, recipe, defaults)
  t.match(params, { cpu: 1, cpuLimit: 2, memoryMiB: 2048, memoryLimitMiB: 4096, ...defaults })
  t.strictSame(record.resources, { cpu: 1, memoryMiB: 2048 })
  t.strictSame(planSandbox({ ...account, limits: { ...account.limits, gpus: ['T4'] } }, { gpu: 'T4' }, undefined, recipe, defaults)
    .record.resources, { cpu: 1, memoryMiB: 2048, gpu: 'T4' })
  t.match(record, { mountPath: '/a/b', workdir: '/a/b', volume: 'v' })
  t.equal(planSandbox(account, {}, undefined, recipe, defaults).record.workdir, '/workspace')
  t.strictSame(planSandbox(account, { network: { cidrAllowlist: [], domainAllowlist: ['a.io'] } }, undefined, recipe, defaults)
    .params, { ...params, outboundCidrAllowlist: [], outboundDomainAllowlist: ['a.io'] })
})

t.test('An account may name only the secrets that its patterns match', async (t) => {
  const acme = { ...account, secrets: ['acme-*', 'shared.key'] }
  for (const name of ['acme-aws', 'acme-', 'shared.key']) t.ok(mayUseSecret(acme, name), name)
  for (const name of ['other', 'xacme-aws', 'sharedxkey', '']) t.notOk(mayUseSecret(acme, name), name)
})

t.test('A workspace is not where the system has its own files, however that is spelled, and the field is named', async (t) => {
  const storage = { bucket: 'b', readOnly: true, initialize: true, syncOnTerminate: true, syncAfterRun: false, versioned: false, delete: false }
  const acme = accountOf({ id: 'acme', secrets: [], s3: [{ bucket: 'b', secretName: 'aws' }] })
  const plan = (spec: object) => planSandbox(acme, spec, undefined, recipe, defaults).record
  const refused = ['/proc', '/proc/self/cwd', '/sys', '/dev', '/dev/shm', '/usr', '/usr/', '/usr/bin/x', '/bin', '/sbin', '/lib', '/lib64',
    '/usr/local', '/usr/local/bin', '/usr/local/lib/node_modules', '/etc', '/boot', '/run', '/var', '/var/run', '/tmp', '//tmp/.',
    '/tmp/.modal-sandbox', '/tmp/.modal-sandbox/run-lock', '/srv/../proc', '/__modal']
  for (const path of refused) {
    t.throws(() => plan({ workdir: path }), { code: 'BAD_REQUEST', message: /^body\.workdir cannot be \// }, path)
    t.throws(() => plan({ volume: { name: 'v', mountPath: path } }), { code: 'BAD_REQUEST', message: /^body\.volume\.mountPath / }, path)
    t.throws(() => plan({ s3: { ...storage, secretName: 'aws', mountPath: path } }), { code: 'BAD_REQUEST', message: /^body\.s3\.mountPath / }, path)
  }
  for (const path of ['/workspace', '/data', '/usr/src/app', '/tmp/work', '/tmp/.modal-sandbox2', '/procs', '/etc/nginx', '/var/www', '/srv', '/root', '/home/me/bin']) {
    t.equal(plan({ volume: { name: 'v', mountPath: path } }).mountPath, path)
    t.equal(plan({ workdir: path }).workdir, path)
  }
  t.equal(plan({ volume: { name: 'v' }, workdir: '/usr/local' }).workdir, '/usr/local', 'the volume is the workspace')
  t.throws(() => plan({ volume: { name: 'v' }, workdir: '/proc/1' }), { code: 'BAD_REQUEST', message: /^body\.workdir / })
})
