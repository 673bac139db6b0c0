import { randomBytes } from 'node:crypto'
import t from 'tap'
import { decodeTags, encodeTags, type SandboxRecord } from '../../../services/sandboxes/tags.js'

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

t.test('What a sandbox is survives the way through few and plain Modal tags', async (t) => {
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
    t.match(value, /^[A-Za-z0-9._-]{1,255}$/)
  }
  t.strictSame(decodeTags(tags), odd)
  t.strictSame(decodeTags(encodeTags(record)), record)
})

t.test('The largest request has no more than eight tags, with those of its runs', async (t) => {
  const text = (length: number) => randomBytes(length).toString('base64').slice(0, length)
  const largest: SandboxRecord = {
    ...record,
    workdir: `/${text(1000)}`,
    image: text(255),
    volume: text(32),
    mountPath: `/${text(1000)}`,
    mount: { readOnly: true, subPath: text(1000), exclusive: true },
    place: text(40),
    name: text(63),
    key: text(40),
    fingerprint: text(40),
    network: 'blocked',
    s3: {
      bucket: text(63),
      prefix: text(1024),
      endpointUrl: text(255),
      readOnly: false,
      initialize: true,
      syncOnTerminate: true,
      syncAfterRun: true,
      versioned: true
    },
    tags: Object.fromEntries(Array.from({ length: 10 }, () => [text(60), text(100)]))
  }
  const tags = encodeTags(largest)
  t.equal(Object.keys(tags).length, 6)
  t.strictSame(decodeTags(tags), largest)
  t.equal(Object.keys(encodeTags(record)).length, 3, 'a plain sandbox')
})

t.test('Tags of a client can not claim an owner, and foreign sandboxes have no record', async (t) => {
  const tags = encodeTags({ ...record, tags: { 'ms-record': 'x', owner: 'acct-other', 'ms-key': 'k' } })
  t.equal(decodeTags(tags)!.owner, 'acct-acme')
  t.equal(decodeTags(tags)!.key, undefined)
  t.equal(decodeTags({ team: 'x' }), undefined)
  t.equal(decodeTags({ 'ms-record': 'not compressed', 'ms-deployment': 'd' }), undefined)
})
