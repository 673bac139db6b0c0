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
