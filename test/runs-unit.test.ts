import { readFileSync } from 'node:fs'
import t from 'tap'
import { promptText, runCommand, runEnvironment } from '../services/runs/command.js'
import { LineSplitter, readLine } from '../services/runs/lines.js'
import { RunLog, type RunEvent } from '../services/runs/log.js'
import { completion, outcomeOf } from '../services/runs/outcome.js'
import { takeOutput } from '../services/runs/output.js'

const fixture = (name: string) => readFileSync(new URL(`fixtures/claude-events/${name}`, import.meta.url))

/** The events that some output becomes, arriving in chunks of a size. */
function eventsOf (output: Buffer, size = output.length, format: 'stream-json' | 'text' = 'stream-json', secrets: string[] = []) {
  const log = new RunLog(100_000_000)
  const take = takeOutput({ log, format, secrets, onObject () {} })
  for (let at = 0; at < output.length; at += size) take(output.subarray(at, at + size))
  take(undefined)
  log.end()
  const events: RunEvent[] = []
  for (let batch = log.take(0); batch.length > 0; batch = log.take(events.at(-1)!.id)) events.push(...batch)
  return events
}

t.test('Lines come out whole wherever chunks are cut, in the middle of a character, too (4.10)', async (t) => {
  const output = Buffer.from('{"type":"a","text":"äöü 🦄"}\r\nplain ü\n{"type":"b"}')
  const whole = eventsOf(output)
  t.match(whole, [
    { event: 'claude', json: '{"type":"a","text":"äöü 🦄"}' }, { event: 'output', json: '{"text":"plain ü\\n"}' }, { event: 'claude', json: '{"type":"b"}' }
  ])
  t.equal(whole.at(-1)!.id, output.length, 'ids are byte offsets')
  for (let size = 1; size < output.length; size++) t.strictSame(eventsOf(output, size), whole, `chunks of ${size}`)
})

t.test('A recorded terminal stream gives exactly its objects', async (t) => {
  const raw = fixture('text-partial.pty.raw')
  const events = eventsOf(raw, 7)
  const objects = raw.toString().split('\n').filter((line) => line.includes('{"')).length
  t.equal(events.filter(({ event }) => event === 'claude').length, objects)
  t.strictSame(events.filter(({ event }) => event === 'output'), [], 'codes at the end are no output')
  const lines = fixture('tool-failed.jsonl').toString().trim().split('\n')
  t.strictSame(eventsOf(fixture('tool-failed.jsonl')).map(({ json }) => json), lines, 'untouched')
})

t.test('What is glued in front of an object is taken off, and told when it is more than terminal codes', async (t) => {
  const json = '{"type":"x"}'
  for (const glue of ['^C', '\x1b[?25h', '\x1b[?1006l\x1b(B\x0f\x1b[>4m\x1b[<u\x1b7\x1b[r\x1b8\x1b]0;\x07', '\r']) {
    t.match(readLine(glue + json), [{ json }], JSON.stringify(glue))
  }
  t.match(readLine(`warning: ${json}  `), [{ text: 'warning: ' }, { json }])
  const glued = eventsOf(Buffer.from(`warning: ${json}\n`))
  t.ok(glued[0]!.id < glued[1]!.id, 'each has a position of its own')
})

t.test('What is not an object of the stream is output, and nothing of it is dropped', async (t) => {
  for (const line of ['{"type":', '{"no":"type"}', '[1]', '{"type":1}', 'text', '{']) t.match(readLine(line), [{ text: `${line}\n` }], line)
  t.strictSame(readLine('\x1b[?25h'), [], 'a bare code says nothing')
})

t.test('Lines of many megabytes pass without copying them again and again', async (t) => {
  const json = JSON.stringify({ type: 'user', text: 'x'.repeat(5_000_000) })
  const started = performance.now()
  t.equal(eventsOf(Buffer.from(`${json}\n`), 4096)[0]!.json.length, json.length)
  t.ok(performance.now() - started < 3000)
  const splitter = new LineSplitter()
  t.equal([...splitter.push(Buffer.alloc(70_000, 'y')), ...splitter.finish()][0]!.line.length, 70_000)
  const spaces = `{"type":"x"${' '.repeat(2_000_000)},"b":1`
  const again = performance.now()
  t.match(readLine(spaces), [{ text: `${spaces}\n` }])
  t.ok(performance.now() - again < 3000, 'whatever is in the line')
})

t.test('A line without an end does not fill the memory', async (t) => {
  const splitter = new LineSplitter(1000)
  const lines = [...splitter.push(Buffer.alloc(600, 'a')), ...splitter.push(Buffer.alloc(600, 'b')), ...splitter.push(Buffer.from('c\nd\n'))]
  t.strictSame(lines.map(({ line, end }) => [line.length, end]), [[1200, 1200], [1, 1202], [1, 1204]])
})

t.test('An object is one line of an event, whatever parts its tokens', async (t) => {
  const [piece] = readLine('{"type":"x",\r\r"event":"run.completed"}')
  t.match(piece, { json: '{"type":"x",  "event":"run.completed"}', object: { event: 'run.completed' } })
})

t.test('Text output goes out as it comes, in whole characters', async (t) => {
  const events = eventsOf(Buffer.from('ab ü🦄 no line end'), 1, 'text')
  t.equal(events.map(({ json }) => JSON.parse(json).text).join(''), 'ab ü🦄 no line end')
  t.equal(events.at(-1)!.id, Buffer.byteLength('ab ü🦄 no line end'))
  for (const size of [1, 2, 100]) {
    const coded = eventsOf(Buffer.from('press ^C \x1b[1mnow\x1b[0m\x1b[?25h'), size, 'text')
    t.equal(coded.map(({ json }) => JSON.parse(json).text).join(''), 'press ^C now', `codes are not text, in chunks of ${size}`)
  }
})

t.test('A known secret is in no event', async (t) => {
  const events = eventsOf(Buffer.from('{"type":"a","env":"KEY=sk-123"}\nKEY=sk-123\n'), 5, 'stream-json', ['sk-123'])
  t.notMatch(JSON.stringify(events), /sk-123/)
  t.match(events, [{ json: '{"type":"a","env":"KEY=[redacted]"}' }, { json: '{"text":"KEY=[redacted]\\n"}' }])
  for (const size of [1, 3, 100]) {
    const text = eventsOf(Buffer.from('KEY=sk-12 sk-123 sk-'), size, 'text', ['sk-123']).map(({ json }) => JSON.parse(json).text)
    t.equal(text.join(''), 'KEY=sk-12 [redacted] sk-', `in chunks of ${size}`)
  }
})

t.test('A reader gets every event once, in order, live and again from any position', async (t) => {
  const log = new RunLog()
  const { signal } = new AbortController()
  const read = async (after: number) => {
    const ids: number[] = []
    for await (const batch of log.read(after, signal)) ids.push(...batch.map(({ id }) => id))
    return ids
  }
  const live = read(0)
  for (let number = 0; number < 2500; number++) {
    log.append('claude', `{"n":${number}}`, 10)
    if (number % 100 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  log.append('run.completed', '{}')
  log.end()
  const all = await live
  t.equal(all.length, 2501)
  t.strictSame(all, all.toSorted((one, other) => one - other))
  t.strictSame(await read(12_340), all.filter((id) => id > 12_340))
  t.strictSame(await read(all.at(-1)!), [])
})

t.test('A reader that is too slow is told the gap and holds up nobody', async (t) => {
  const log = new RunLog(2200)
  for (let number = 0; number < 100; number++) log.append('claude', 'x'.repeat(100), 100)
  const events = log.take(150)
  t.match(events[0], { event: 'gap', json: '{"from":150,"to":9000}', id: 9000 })
  t.equal(events.length, 11)
  log.append('claude', 'y'.repeat(5000), 5000)
  t.equal(log.take(0).at(-1)!.json.length, 5000, 'one that is larger than the limit is kept')
  const leaving = new AbortController()
  const waiting = (async () => { for await (const batch of log.read(99_999, leaving.signal)) t.fail(String(batch)) })()
  leaving.abort()
  await waiting
})

t.test('The outcome is what happened, whatever the exit code says', async (t) => {
  const ok = { is_error: false }
  const cases = [
    [{ exitCode: 0, result: ok }, 'result'], [{ exitCode: 1, result: { is_error: true } }, 'agent_error'], [{ exitCode: 0 }, 'exit'],
    [{ exitCode: 1 }, 'exit'], [{ exitCode: 137 }, 'signal'], [{ exitCode: 137, stoppedFor: 'timeout' }, 'timeout'],
    [{ exitCode: 0, result: ok, stoppedFor: 'cancelled' }, 'cancelled'], [{ exitCode: 137, lost: 'sandbox_lost' }, 'sandbox_lost'],
    [{ exitCode: null, lost: 'stream_lost' }, 'stream_lost'], [{ exitCode: null, result: ok, lost: 'stream_lost' }, 'result'],
    [{ exitCode: 143, result: ok }, 'result'], [{ exitCode: 0, text: true }, 'result'], [{ exitCode: 1, text: true }, 'exit']
  ] as const
  for (const [ending, outcome] of cases) t.equal(outcomeOf({ text: false, ...ending }), outcome, JSON.stringify(ending))
})

t.test('The cost of a run is its own, not its conversation\'s', async (t) => {
  const models = { a: { costUSD: 1 }, b: { costUSD: 2 }, c: {} }
  const usage = { output_tokens: 1 }
  const result = { is_error: false, total_cost_usd: 9, usage, model_usage_since_last_result: models }
  t.match(completion({ exitCode: 0, result, text: false }, 's', 5), { costUsd: 3, usage: { output_tokens: 1 }, sessionId: 's', isError: false })
  const old = { is_error: false, total_cost_usd: 4 }
  t.match(completion({ exitCode: 0, result: old, text: false }, null, 5), { costUsd: 4, usage: null })
  t.match(completion({ exitCode: 1, text: false }, null, 5), { costUsd: null, isError: true })
})

t.test('A result that something else in the sandbox has written can not do harm', async (t) => {
  for (const odd of [null, [null], 'x', 7, { a: null }, { a: { costUSD: 'x' } }, { a: { costUSD: Infinity } }]) {
    const result = { is_error: odd, usage: odd, total_cost_usd: odd, model_usage_since_last_result: odd }
    const { costUsd, usage } = completion({ exitCode: 0, result, text: false }, null, 5)
    t.ok(costUsd === null || Number.isFinite(costUsd), JSON.stringify(odd))
    t.ok(usage === null || (typeof usage === 'object' && !Array.isArray(usage)))
  }
})

t.test('No value of a request can become an option, and no prompt a command of the CLI', async (t) => {
  const argv = runCommand('run_1', {
    prompt: 'secret prompt',
    model: 'opus',
    allowedTools: ['Bash(git *)', 'Read'],
    disallowedTools: ['Write'],
    appendSystemPrompt: '--help',
    maxTurns: 3,
    maxBudgetUsd: 1.5,
    continue: true,
    permissionMode: 'plan'
  }, null)
  for (const word of ['--model=opus', '--allowed-tools=Bash(git *),Read', '--append-system-prompt=--help', '--max-turns=3', '--continue', '-',
    '--disallowed-tools=Write', '--max-budget-usd=1.5', '--permission-mode=plan', '--verbose']) t.ok(argv.includes(word), word)
  t.notMatch(argv.join(' '), /secret prompt/)
  t.notOk(runCommand('run_1', { prompt: 'x', outputFormat: 'text' }, 's').includes('--verbose'))
  t.equal(promptText('/clear'), '\n/clear')
  t.match(runEnvironment('run_1', '/workspace'), { CLAUDE_CONFIG_DIR: '/workspace/.claude-sandbox', IS_SANDBOX: '1' })
})
