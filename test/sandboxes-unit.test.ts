import t from 'tap'
import { ClientError, Status } from 'nice-grpc-common'
import { ConflictError, InvalidError, NotFoundError, ResourceExhaustedError } from 'modal'
import { AppError, chain } from '../errors.js'
import type { Account } from '../schemas/account.js'
import { callModal } from '../services/modal/call.js'
import { modalError } from '../services/modal/errors.js'
import { imageRecipe } from '../services/sandboxes/images.js'
import { planSandbox } from '../services/sandboxes/plan.js'
import { Steps, type StepEvent } from '../services/sandboxes/steps.js'
import { decodeTags, encodeTags, type SandboxRecord } from '../services/sandboxes/tags.js'
import { statusOf } from '../services/sandboxes/view.js'

const record: SandboxRecord = {
  owner: 'acct-acme',
  deployment: 'd',
  createdAt: '2026-01-02T03:04:05.678Z',
  expiresAt: '2026-01-02T04:04:05.678Z',
  image: 'ghcr.io/acme/tools:1.2@sha256:00',
  workdir: '/workspace',
  request: 'abc',
  tags: {}
}
const account: Account = {
  id: 'acme', apiKeys: [], secrets: ['acme-*'], limits: { sandboxes: 1, runs: 1, streams: 1, requestsPerMinute: 1 }
}
const recipe = { registry: 'local', commands: [] }
const defaults = { timeoutMs: 60_000, idleTimeoutMs: 30_000 }

t.test('What a sandbox is survives the way through plain and short Modal tags', async (t) => {
  const odd = {
    ...record,
    workdir: `/srv/${'ü_ %$".-'.repeat(30)}`,
    volume: 'v_1',
    mountPath: '/a b',
    name: 'n',
    key: '0a',
    fingerprint: '0b',
    tags: { empty: '', long: 'x'.repeat(63), longer: 'x'.repeat(64), emoji: '👩‍💻_7f', under_score: '_' }
  }
  const tags = encodeTags(odd)
  for (const [key, value] of Object.entries(tags)) {
    t.match(key, /^[A-Za-z0-9._-]{1,63}$/)
    t.match(value, /^[A-Za-z0-9._-]{1,63}$/)
  }
  t.strictSame(decodeTags(tags), odd)
  t.strictSame(decodeTags(encodeTags(record)), record)
})

t.test('Tags of a client can not claim an owner, and foreign sandboxes have no record', async (t) => {
  const tags = encodeTags({ ...record, tags: { 'ms-owner': 'acct-other', owner: 'acct-other' } })
  t.equal(decodeTags(tags)!.owner, 'acct-acme')
  t.equal(decodeTags({ team: 'x' }), undefined)
  t.equal(decodeTags({ 'ms-owner': 'acct-acme' }), undefined)
})

t.test('Errors of the SDK and of gRPC get their code, their step and their cause (1.6, 8.10, 10.1)', async (t) => {
  const grpc = (code: Status) => new ClientError('/modal.client.ModalClient/Call', code, 'told by Modal')
  const cases: [Error, string, string?][] = [
    [grpc(Status.INVALID_ARGUMENT), 'INVALID_SANDBOX', 'told by Modal'],
    [grpc(Status.UNIMPLEMENTED), 'NOT_SUPPORTED', 'told by Modal'],
    [grpc(Status.ALREADY_EXISTS), 'SANDBOX_NAME_TAKEN'],
    [grpc(Status.RESOURCE_EXHAUSTED), 'MODAL_UNAVAILABLE'],
    [grpc(Status.UNAVAILABLE), 'MODAL_UNAVAILABLE'],
    [grpc(Status.UNAUTHENTICATED), 'MODAL_UNAUTHORIZED'],
    [grpc(Status.PERMISSION_DENIED), 'MODAL_UNAUTHORIZED'],
    [grpc(Status.DEADLINE_EXCEEDED), 'MODAL_TIMEOUT'],
    [grpc(Status.NOT_FOUND), 'SECRET_NOT_FOUND', 'told by Modal'],
    [grpc(Status.FAILED_PRECONDITION), 'MODAL_ERROR'],
    [grpc(Status.INTERNAL), 'MODAL_ERROR'],
    [new NotFoundError('no secret x'), 'SECRET_NOT_FOUND', 'no secret x'],
    [new InvalidError('bad cpu'), 'INVALID_SANDBOX', 'bad cpu'],
    [new ConflictError('has finished'), 'MODAL_ERROR'],
    [new ResourceExhaustedError('full'), 'MODAL_UNAVAILABLE'],
    [new Error('Deadline exceeded while waiting for exec 1'), 'MODAL_TIMEOUT'],
    [new Error('Image build for im-1 failed with the exception:\nno such file'), 'IMAGE_BUILD_FAILED', 'no such file'],
    [new Error('an inner secret'), 'MODAL_ERROR']
  ]
  for (const [cause, code, text] of cases) {
    const error = modalError(cause, 'secrets', { notFound: 'SECRET_NOT_FOUND' })
    t.match(error, { code, step: 'secrets', cause }, code)
    if (text === undefined) t.notMatch(error.message, /told by Modal|inner secret|finished|full/)
    else t.ok(error.message.includes(text))
    t.ok(chain(error).includes(cause.message))
  }
  const statuses = [
    [Status.DEADLINE_EXCEEDED, 'MODAL_TIMEOUT'], [Status.ALREADY_EXISTS, 'SANDBOX_NAME_TAKEN'],
    [Status.PERMISSION_DENIED, 'MODAL_UNAUTHORIZED'], [Status.UNAUTHENTICATED, 'MODAL_UNAUTHORIZED'],
    [Status.RESOURCE_EXHAUSTED, 'MODAL_UNAVAILABLE'], [Status.FAILED_PRECONDITION, 'MODAL_ERROR'],
    [Status.UNIMPLEMENTED, 'NOT_SUPPORTED'], [Status.CANCELLED, 'MODAL_UNAVAILABLE'],
    [Status.UNAVAILABLE, 'MODAL_UNAVAILABLE'], [Status.NOT_FOUND, 'MODAL_ERROR'], [Status.INTERNAL, 'MODAL_ERROR']
  ] as const
  for (const [status, code] of statuses) t.equal(modalError(grpc(status), 'step').code, code, Status[status])
  t.equal(modalError(new Error('Deadline exceeded while waiting'), 'step').code, 'MODAL_TIMEOUT')
  t.notMatch(modalError(grpc(Status.NOT_FOUND), 'find', { notFound: 'SANDBOX_NOT_FOUND' }).message, /told/)
  t.match(modalError(new Error(`Image build for im-1 failed with the exception:\n${'x'.repeat(9000)}end`), 'image').message,
    /\.\.\.x{2997}end$/)
})

t.test('A Modal that does not answer is a timeout, not a hung request', async (t) => {
  await t.rejects(callModal('app', 20, () => new Promise(() => {})), { code: 'MODAL_TIMEOUT', step: 'app' })
  const events: StepEvent[] = []
  const silent = { info () {}, warn () {}, error () {} }
  const steps = new Steps(silent, (event) => events.push(event))
  await t.rejects(steps.run('volume', async () => { throw new AppError('FORBIDDEN') }, { timeoutMs: 20 }),
    { code: 'FORBIDDEN', step: 'volume' })
  t.match(events, [{ step: 'volume', status: 'started' }, { step: 'volume', status: 'failed', durationMs: Number }])
})

t.test('The same request has the same fingerprint, whatever the order of its fields, and tells nothing of its values', async (t) => {
  const plan = (spec: object, key = 'k') => planSandbox(account, spec, key, recipe, defaults)
  const one = plan({ env: { A: 'hunter2', B: '2' }, name: 'n' }).record
  t.equal(plan({ name: 'n', env: { B: '2', A: 'hunter2' } }).record.fingerprint, one.fingerprint)
  t.not(plan({ name: 'n', env: { B: '2', A: 'x' } }).record.fingerprint, one.fingerprint)
  t.not(plan({ env: { A: 'hunter2', B: '2' }, name: 'n' }, 'other').record.fingerprint, one.fingerprint)
  t.notMatch(JSON.stringify(encodeTags(one)), /hunter2/)
  t.match(plan({}).modalName, /^key\.[0-9a-f]{40}$/)
  t.match(planSandbox(account, {}, undefined, recipe, defaults).modalName, /^auto\.[a-z0-9]{20}$/)
})

t.test('A plan has defaults that Claude can live with, and clean paths', async (t) => {
  const { params, record } = planSandbox(account, { volume: { name: 'v', mountPath: '/a//b/' } }, undefined, recipe, defaults)
  t.match(params, { cpu: 1, memoryMiB: 2048, ...defaults })
  t.match(record, { mountPath: '/a/b', workdir: '/a/b', volume: 'v' })
  t.equal(planSandbox(account, {}, undefined, recipe, defaults).record.workdir, '/workspace')
  t.strictSame(planSandbox(account, { network: { cidrAllowlist: [], domainAllowlist: ['a.io'] } }, undefined, recipe, defaults)
    .params, { ...params, outboundCidrAllowlist: [], outboundDomainAllowlist: ['a.io'] })
})

t.test('The default image has the pinned Claude; an own image is taken as it is (1.1)', async (t) => {
  const claudeVersion = '2.1.330'
  t.match(imageRecipe(undefined, { backend: 'modal', claudeVersion }).commands.join('\n'), /claude-code@2\.1\.330/)
  t.strictSame(imageRecipe(undefined, { backend: 'local', claudeVersion }), recipe)
  t.strictSame(imageRecipe(undefined, { backend: 'modal', claudeVersion, claudeImage: 'mine:1' }), { registry: 'mine:1', commands: [] })
  t.strictSame(
    imageRecipe({ registry: 'debian:12', registrySecret: 's', dockerfileCommands: ['RUN x'] }, { backend: 'local', claudeVersion }),
    { registry: 'debian:12', registrySecret: 's', commands: ['RUN x'] })
})

t.test('An exit code says whether the end was expected (5.7)', async (t) => {
  t.strictSame([null, 0, 124, 137, 143, 1, 139].map(statusOf),
    ['running', 'terminated', 'terminated', 'terminated', 'terminated', 'error', 'error'])
})
