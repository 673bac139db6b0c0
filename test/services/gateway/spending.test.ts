import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { readAsked } from '../../../services/gateway/asked.js'
import { DirectoryObjects, StoredCounters } from '../../../services/gateway/counters.js'
import { Prices } from '../../../services/gateway/prices.js'
import { SpendingLedger } from '../../../services/gateway/spending.js'
import { noUsage, UsageReader } from '../../../services/gateway/usage.js'

const log = { info () {}, warn () {}, error () {} }

t.test('What an account has spent survives a restart, and replicas see each other\'s', async (t) => {
  const root = join(t.testdir({}), 'usage')
  const ledger = (replica: string, now = '2026-11-28T10:00:00Z') => new SpendingLedger({
    store: new StoredCounters(new DirectoryObjects(root)), replica, log, now: () => new Date(now)
  })
  const first = ledger('one')
  first.add('acme', 'run_1', 2)
  first.add('acme', 'run_2', 3)
  first.add('Other Account', 'run_3', 7)
  await first.close()
  t.strictSame((await readdir(root)).length, 2)
  t.strictSame(await readdir(join(root, 'acme', '2026-11')), ['one.json'])

  const second = ledger('two')
  t.equal(second.ofAccount('acme'), 0)
  await second.refresh('acme')
  second.add('acme', 'run_1', 1)
  t.equal(second.ofAccount('acme'), 6)
  t.equal(second.ofRun('acme', 'run_1'), 3)
  const nextMonth = ledger('three', '2026-12-01T00:00:00Z')
  await nextMonth.refresh('acme')
  t.equal(nextMonth.ofAccount('acme'), 0)

  await writeFile(join(root, 'acme', '2026-11', 'bad.json'), '{"version":1,"usd":-5}')
  await t.rejects(ledger('four').refresh('acme'), /not a counter/)
})

t.test('What a run has spent does not start again with a month', async (t) => {
  let now = '2026-12-31T23:59:59Z'
  const ledger = new SpendingLedger({ store: undefined, replica: 'one', log, now: () => new Date(now) })
  ledger.add('acme', 'run_1', 2)
  now = '2027-01-01T00:00:01Z'
  ledger.add('acme', 'run_1', 1)
  t.equal(ledger.ofRun('acme', 'run_1'), 3)
  t.equal(ledger.ofAccount('acme'), 1)
})

t.test('Prices are those of the CLI, and of long prompts; a model without one costs as much as the dearest, and is named once', async (t) => {
  const unknown: string[] = []
  const prices = new Prices({ 'claude-opus-9': { input: 1, output: 2 } }, (model) => { unknown.push(model) })
  const million = { ...noUsage, input_tokens: 1e6 }
  for (const [model, usd] of Object.entries({
    'claude-opus-5-5': 4,
    'us.anthropic.claude-sonnet-4-5-20250929-v1:0': 6,
    'claude-sonnet-4-6': 3,
    'claude-sonnet-5-5': 2,
    'claude-haiku-4-5-20251001': 1,
    'claude-haiku-5-5': 0.5,
    'claude-opus-4-1-20250805': 15,
    'claude-opus-9-1': 1
  })) t.equal(prices.costOf(model, million), usd, model)
  t.equal(prices.costOf('claude-sonnet-4-5', { ...million, input_tokens: 1e5 }), 0.3, 'no long prompt')
  t.equal(prices.costOf('gpt', million), 15)
  prices.costOf('gpt', million)
  t.strictSame(unknown, ['gpt'])
  const cached = {
    ...noUsage,
    cache_read_input_tokens: 1e6,
    cache_creation_input_tokens: 2e6,
    cache_creation_1h_input_tokens: 1e6,
    web_search_requests: 3
  }
  t.equal(prices.costOf('claude-opus-4-5', cached).toFixed(6), (0.5 + 6.25 + 10 + 0.03).toFixed(6))
  const most = { model: '', promptTokens: 1e6, outputTokens: 1e6, webSearches: 100, fast: true, isWhole: true }
  t.equal(prices.mostFor('claude-opus-4-6', most).toFixed(6), ((10 + 25) * 6 * 1.1 + 1).toFixed(6))
  t.equal(prices.costOf('claude-opus-4-6', { ...million, fast: true, inUs: true }).toFixed(6), (5 * 6 * 1.1).toFixed(6))
})

t.test('Usage is read however an answer is cut into pieces, and nonsense is no usage', async (t) => {
  const asked = readAsked(Buffer.from('{"max_tokens":1000}'))
  const text = 'event: message_start\r\ndata: {"type":"message_start","message":{"model":"m","usage":{"input_tokens":3,"output_tokens":1,' +
    '"cache_creation":{"ephemeral_1h_input_tokens":2},"cache_creation_input_tokens":2}}}\r\n\r\n' +
    'data: {"type":"message_delta","usage":{"output_tokens":9,"server_tool_use":{"web_search_requests":1}}}\n\n'
  for (const size of [1, 7, 1000]) {
    const reader = new UsageReader('text/event-stream')
    for (let at = 0; at < text.length; at += size) reader.push(Buffer.from(text.slice(at, at + size)))
    reader.end()
    t.match(reader.usage, {
      input_tokens: 3, output_tokens: 9, cache_creation_1h_input_tokens: 2, web_search_requests: 1
    })
    t.equal(reader.model, 'm')
  }
  for (const body of ['', '[]', 'null', '{"usage":[]}', '{"usage":{"input_tokens":"many","output_tokens":-1}}', 'x'.repeat(100)]) {
    for (const type of ['application/json', 'text/event-stream', 'application/vnd.amazon.eventstream']) {
      const reader = new UsageReader(type)
      reader.push(Buffer.from(`data: ${body}\n`))
      reader.push(Buffer.from(body))
      reader.end()
      t.match(reader.usage ?? reader.estimate(asked, 300), { output_tokens: Number }, body)
    }
  }
  const { input_tokens: input, output_tokens: output } = new UsageReader('', performance.now() - 2000).estimate(asked, 300)
  t.equal(input, 100, 'an estimate by size')
  t.ok(output >= 300 && output < 1000, `an estimate by time: ${output}`)
})
