import { spawnSync } from 'node:child_process'
import { readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { promptText, runCommand, runEnvironment } from '../services/runs/command.js'
import { LineSplitter, readLine } from '../services/runs/lines.js'
import { completion, outcomeOf } from '../services/runs/outcome.js'
import { OutputParser, type ParsedEvent } from '../services/runs/output.js'
import {
  writeRecord, type AskedRecord, type EndedRecord, type ResolvedRecord, type StartedRecord
} from '../services/runs/records.js'
import { RunState } from '../services/runs/state.js'
import { EventWindow } from '../services/runs/window.js'
import type { OwnedSandbox } from '../services/sandboxes/owned.js'
import { processorMs } from './helpers/own-time.js'

const run = `run_${'1'.repeat(20)}`
const started: StartedRecord = {
  record: 'started', run, sandboxId: 'sb-1', sessionId: null, startedAt: '2026-01-01T00:00:00.000Z', prompt: 'x', format: 'stream-json', onDisconnect: 'terminate', timeoutMs: 1000
}
const ended: EndedRecord = { record: 'ended', run, exitCode: 0, stop: '', durationMs: 5 }
const limits = { timeoutMs: 5000, graceMs: 1000, permissionMs: 9000 }
const owned = { id: 'sb-1', owner: 'acct-a', workdir: '/workspace' } as OwnedSandbox
const fixture = (name: string) => readFileSync(new URL(`fixtures/claude-events/${name}`, import.meta.url))

/** The events that some output becomes, arriving in chunks of a size. */
function eventsOf (output: Buffer, size = output.length, format: 'stream-json' | 'text' = 'stream-json', secrets: string[] = [], offset = 0) {
  const parser = new OutputParser({ run, format, secrets, offset })
  const events: ParsedEvent[] = []
  for (let at = 0; at < output.length; at += size) events.push(...parser.push(output.subarray(at, at + size)))
  events.push(...parser.finish())
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
    t.match(readLine(Buffer.from(glue + json)), [{ json }], JSON.stringify(glue))
  }
  t.match(readLine(Buffer.from(`warning: ${json}  `)), [{ text: 'warning: ' }, { json }])
  const glued = eventsOf(Buffer.from(`warning: ${json}\n`))
  t.ok(glued[0]!.id < glued[1]!.id, 'each has a position of its own')
})

t.test('What is not an object of the stream is output, and nothing of it is dropped', async (t) => {
  for (const line of ['{"type":', '{"no":"type"}', '[1]', '{"type":1}', 'text', '{']) t.match(readLine(Buffer.from(line)), [{ text: `${line}\n` }], line)
  t.strictSame(readLine(Buffer.from('\x1b[?25h')), [], 'a bare code says nothing')
})

t.test('Lines of many megabytes pass without copying them again and again', async (t) => {
  const json = JSON.stringify({ type: 'user', text: 'x'.repeat(5_000_000) })
  t.ok(processorMs(() => {
    t.equal(eventsOf(Buffer.from(`${json}\n`), 4096)[0]!.json.length, json.length)
  }) < 3000)
  const splitter = new LineSplitter()
  t.equal([...splitter.push(Buffer.alloc(70_000, 'y')), ...splitter.finish()][0]!.line.length, 70_000)
  const spaces = `{"type":"x"${' '.repeat(2_000_000)},"b":1`
  t.ok(processorMs(() => {
    t.match(readLine(Buffer.from(spaces)), [{ text: `${spaces}\n` }])
  }) < 3000, 'whatever is in the line')
})

t.test('A line without an end does not fill the memory, and is cut in the same places for everyone', async (t) => {
  const output = Buffer.from(`${'a'.repeat(2500)}\n${'b'.repeat(1000)}\nc`)
  const cut = (size: number) => {
    const splitter = new LineSplitter(0, 1000)
    const lines: { line: Buffer, end: number }[] = []
    for (let at = 0; at < output.length; at += size) lines.push(...splitter.push(output.subarray(at, at + size)))
    return [...lines, ...splitter.finish()].map(({ line, end }) => [line.length, end])
  }
  const lines = cut(output.length)
  t.strictSame(lines, [[1000, 1000], [1000, 2000], [500, 2501], [1000, 3501], [0, 3502], [1, 3503]])
  for (const size of [1, 7, 999, 1000, 1001]) t.strictSame(cut(size), lines, `chunks of ${size}`)
})

t.test('Reading on from any event gives the events that come next, and the same ids (peers 8)', async (t) => {
  const mixed = Buffer.concat([
    Buffer.from(`${writeRecord(started)}\nwarning: {"type":"a","t":"ü🦄"}\n\x1b[?25h^C{"type":"b"}\r\n{"type":\n\nplain \xff`), Buffer.from([0xff, 0xc3, 0x0a]),
    Buffer.from(`last words${writeRecord(ended)}\n`)
  ])
  for (const format of ['stream-json', 'text'] as const) {
    const all = eventsOf(mixed, 5, format)
    t.equal(all[0]!.event, 'run.started')
    t.equal(all.at(-1)!.event, 'run.completed')
    t.equal(all.at(-1)!.id, mixed.length)
    for (const [index, { id }] of all.entries()) {
      t.strictSame(eventsOf(mixed.subarray(id), 5, format, [], id).map(({ event }) => event === 'output').at(-1), index === all.length - 1 ? undefined : false)
      const rest = eventsOf(mixed.subarray(id), mixed.length, format, [], id)
      if (format === 'stream-json') t.strictSame(rest, all.slice(index + 1), `after ${id}`)
      else t.equal(textOf(rest), textOf(all.slice(index + 1)), `after ${id}`)
    }
  }
})

t.test('What Claude says is never taken for a record, and a record only for its own run', async (t) => {
  const [said] = eventsOf(Buffer.from(`${JSON.stringify({ type: 'x', text: `${writeRecord(ended)}\n` })}\n`))
  t.equal(said!.event, 'claude')
  const other = { ...ended, run: `run_${'2'.repeat(20)}` }
  for (const odd of [other, { ...ended, exitCode: 'x' }, { ...ended, lost: 'x' }, { record: 'ended' }, { ...started, prompt: 'x'.repeat(20_000) }]) {
    for (const format of ['stream-json', 'text'] as const) {
      const events = eventsOf(Buffer.from(`\x1e${JSON.stringify(odd)}\nnext\n`), 9, format)
      t.notOk(events.some(({ event }) => event.startsWith('run.')), JSON.stringify(odd).slice(0, 60))
      t.match(textOf(events), /next\n$/)
    }
  }
})

t.test('An object is one line of an event, whatever parts its tokens', async (t) => {
  const [piece] = readLine(Buffer.from('{"type":"x",\r\r"event":"run.completed"}'))
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

t.test('The window keeps the latest events, and says where they begin', async (t) => {
  const window = new EventWindow(0, 2200)
  for (let number = 1; number <= 100; number++) window.append([{ id: number * 100, event: 'claude', json: 'x'.repeat(100) }])
  t.equal(window.start, 9000)
  t.strictSame(window.take(9000).map(({ id }) => id), [9100, 9200, 9300, 9400, 9500, 9600, 9700, 9800, 9900, 10000])
  t.strictSame(window.take(9950).map(({ id }) => id), [10000], 'from any position')
  t.ok(window.bytes <= 2200)
  window.append([{ id: 20_000, event: 'claude', json: 'y'.repeat(5000) }])
  t.equal(window.take(window.start)[0]!.json.length, 5000, 'one that is larger than the limit is kept')
  for (let number = 1; number <= 3000; number++) window.append([{ id: 20_000 + number, event: 'claude', json: '{}' }])
  t.equal(window.take(window.lastId - 1).length, 1)
})

t.test('The outcome is what happened, whatever the exit code says', async (t) => {
  const ok = { is_error: false }
  const failed = { is_error: true }
  const cases = [
    [{ exitCode: 0 }, ok, 'result'], [{ exitCode: 1 }, failed, 'agent_error'], [{ exitCode: 0 }, undefined, 'exit'],
    [{ exitCode: 1 }, undefined, 'exit'], [{ exitCode: 137 }, undefined, 'signal'], [{ exitCode: 137, stop: 'timeout' }, undefined, 'timeout'],
    [{ exitCode: 0, stop: 'cancelled' }, failed, 'cancelled'], [{ exitCode: null, lost: 'sandbox' }, undefined, 'sandbox_lost'],
    [{ exitCode: null, lost: 'stream' }, undefined, 'stream_lost'], [{ exitCode: null, lost: 'stream' }, ok, 'result'],
    [{ exitCode: null, lost: 'runner' }, undefined, 'signal'], [{ exitCode: 143 }, ok, 'result']
  ] as const
  for (const [ending, result, outcome] of cases) t.equal(outcomeOf({ stop: '', ...ending }, result, false), outcome, JSON.stringify(ending))
  t.equal(outcomeOf({ stop: '', exitCode: 0 }, undefined, true), 'result', 'text has no result')
  t.equal(outcomeOf({ stop: '', exitCode: 1 }, undefined, true), 'exit')
})

t.test('The cost of a run is its own, not its conversation\'s', async (t) => {
  const done = { stop: '', exitCode: 0, durationMs: 5 } as const
  const models = { a: { costUSD: 1 }, b: { costUSD: 2 }, c: {} }
  const usage = { output_tokens: 1 }
  const result = { is_error: false, total_cost_usd: 9, usage, model_usage_since_last_result: models }
  t.match(completion(done, { result, text: false, sessionId: 's' }), { costUsd: 3, usage: { output_tokens: 1 }, sessionId: 's', isError: false })
  const old = { is_error: false, total_cost_usd: 4 }
  t.match(completion(done, { result: old, text: false, sessionId: null }), { costUsd: 4, usage: null, durationMs: 5 })
  t.match(completion({ stop: '', exitCode: 1 }, { result: undefined, text: false, sessionId: null }), { costUsd: null, isError: true, durationMs: null })
})

t.test('A run is told from its log alone', async (t) => {
  const state = new RunState()
  const log = `${writeRecord(started)}\n{"type":"system","session_id":"s-1"}\n{"type":"result","is_error":false,"session_id":"s-2"}\n${writeRecord(ended)}\n`
  for (const event of eventsOf(Buffer.from(log))) state.see(event)
  t.equal(state.sessionId, 's-2')
  t.match(state.completion(state.ended!), { outcome: 'result', exitCode: 0, durationMs: 5, sessionId: 's-2' })
})

t.test('A result that something else in the sandbox has written can not do harm', async (t) => {
  for (const odd of [null, [null], 'x', 7, { a: null }, { a: { costUSD: 'x' } }, { a: { costUSD: Infinity } }]) {
    const result = { is_error: odd, usage: odd, total_cost_usd: odd, model_usage_since_last_result: odd }
    const { costUsd, usage } = completion({ stop: '', exitCode: 0 }, { result, text: false, sessionId: null })
    t.ok(costUsd === null || Number.isFinite(costUsd), JSON.stringify(odd))
    t.ok(usage === null || (typeof usage === 'object' && !Array.isArray(usage)))
  }
  for (const usage of [JSON.parse(`{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`), { a: 'x'.repeat(100_000) }]) {
    t.equal(completion({ stop: '', exitCode: 0 }, { result: { usage }, text: false, sessionId: null }).usage, null)
  }
})

t.test('No value of a request can become an option, and no prompt a command of the CLI', async (t) => {
  const argv = runCommand(owned, run, {
    prompt: 'secret prompt',
    model: 'opus',
    allowedTools: ['Bash(git *)', 'Read'],
    disallowedTools: ['Write'],
    appendSystemPrompt: "--help isn't",
    maxTurns: 3,
    maxBudgetUsd: 1.5,
    continue: true,
    permissionMode: 'plan'
  }, null, limits)
  const claude = argv.at(-1)!
  for (const word of ['--model=opus', '--allowed-tools=Bash(git *),Read', "--append-system-prompt=--help isn'\\''t", '--max-turns=3', '--continue',
    '--disallowed-tools=Write', '--max-budget-usd=1.5', '--permission-mode=plan', '--verbose']) t.ok(claude.split(/(?<=') (?=')/).includes(`'${word}'`), word)
  t.strictSame(argv.slice(-5, -1), ['-', '5000', '1000', '-'])
  t.notMatch(argv.join(' '), /secret prompt/)
  const text = runCommand(owned, run, { prompt: 'x', outputFormat: 'text', onDisconnect: 'continue' }, 's', limits)
  t.notMatch(text.at(-1), /--verbose/)
  t.equal(text.at(-3), '-', 'no grace time counts')
  t.equal(promptText({ prompt: '/clear' }), '\n/clear')
  const asking = runCommand(owned, run, { prompt: 'x', permissionMode: 'ask', disallowedTools: ['Write'] }, 's', limits)
  t.equal(asking.at(-2), '9000', 'how long Claude waits for permission')
  t.match(asking.at(-1), /'--permission-mode=default' '--permission-prompt-tool=stdio' '--input-format=stream-json'.*'--disallowed-tools=Write,AskUserQuestion'/)
  t.equal(promptText({ prompt: '/clear "\n', permissionMode: 'ask' }), '{"type":"user","message":{"role":"user","content":"\\n/clear \\"\\n"}}\n')
  t.match(runEnvironment({ ...owned, mountPath: '/data' }), { CLAUDE_CONFIG_DIR: '/data/.claude-sandbox', IS_SANDBOX: '1' })
})

const asked: AskedRecord = {
  record: 'asked', run, at: 1_700_000_000, patience: 60_000, request: { request_id: 'a-1', request: { tool_name: 'Bash', input: { command: 'x' } } }
}
const resolved: ResolvedRecord = { record: 'resolved', run, id: 'a-1', decision: 'deny', by: 'deadline' }

t.test('What Claude asks for and its answer are events, and what is open is known from them', async (t) => {
  const log = Buffer.from(`${writeRecord(started)}\n${writeRecord(asked)}\n{"type":"x"}\n${writeRecord(resolved)}\n`)
  const events = eventsOf(log, 9)
  const request = { id: 'a-1', toolName: 'Bash', input: { command: 'x' }, requestedAt: '2023-11-14T22:13:20.000Z', expiresAt: '2023-11-14T22:14:20.000Z' }
  t.strictSame(events.slice(1).map(({ event, json }) => [event, JSON.parse(json)]), [
    ['permission.requested', request], ['claude', { type: 'x' }], ['permission.resolved', { id: 'a-1', decision: 'deny', by: 'deadline' }]
  ])
  t.strictSame(eventsOf(log.subarray(events[1]!.id), 9, 'stream-json', [], events[1]!.id), events.slice(2), 'and from any of them on')
  const state = new RunState()
  for (const event of events.slice(0, 3)) state.see(event)
  t.strictSame(state.pendingPermissions, [request])
  for (const event of [events[1]!, events[3]!, events[3]!]) state.see(event)
  t.strictSame(state.pendingPermissions, [])
})

t.test('A request is shown without secrets; one that no tool would make is just output', async (t) => {
  const secret = { ...asked, request: { ...asked.request, request: { tool_name: 'Bash', input: { command: 'echo sk-123' } } } }
  const [event] = eventsOf(Buffer.from(`${writeRecord(secret)}\n`), 5, 'stream-json', ['sk-123'])
  t.match(event, { event: 'permission.requested', json: /echo \[redacted\]/ })
  const { request } = asked
  const deep = `{"record":"asked","run":"${run}","at":1,"patience":1,"request":{"request_id":"a","request":{"tool_name":"T","input":{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}}}}`
  for (const odd of [
    { ...asked, run: `run_${'2'.repeat(20)}` }, { ...asked, at: 1e15 }, { ...asked, patience: -1 }, { ...asked, request: null },
    { ...asked, request: { ...request, request_id: '../x' } }, { ...asked, request: { ...request, request: { tool_name: 'T', input: [] } } },
    { ...resolved, by: '<b>' }, { ...resolved, decision: 'maybe' }, { ...resolved, id: 7 }
  ].map((record) => JSON.stringify(record)).concat(deep)) {
    t.strictSame(eventsOf(Buffer.from(`\x1e${odd}\n`)).map(({ event }) => event), ['output'], odd.slice(0, 120))
  }
  const state = new RunState()
  const large = { ...asked.request.request, input: { text: 'y'.repeat(500_000) } }
  const many = Array.from({ length: 10 }, (_, index) => writeRecord({ ...asked, request: { request_id: `n-${index}`, request: large } }))
  for (const one of eventsOf(Buffer.from(many.join('\n')))) state.see(one)
  t.equal(state.pendingPermissions.length, 4, 'no more is kept than two megabytes')
})

for (const command of [['awk'], ['mawk', '-W', 'interactive'], ['gawk'], ['busybox', 'awk']]) {
  const there = spawnSync('sh', ['-c', `command -v ${command[0]}`]).status === 0
  t.test(`Requests become records, and records come in between lines, with ${command.join(' ')}`, {
    skip: !there && `${command[0]} is not installed`
  }, async (t) => {
    const state = t.testdir({ asked: {}, in: '', holder: '999999999' })
    writeFileSync(join(state, 'ask.sh'), readFileSync(new URL('../services/runs/ask.sh', import.meta.url)))
    const ask = (id: string, subtype = 'can_use_tool') =>
      JSON.stringify({ type: 'control_request', request_id: id, request: { subtype, tool_name: 'Bash', input: { command: "'$(id)'" } } })
    const answer = `\x1e{"record":"resolved","run":"${run}","id":"a-1","decision":"allow","by":"user"}`
    const line = `{"type":"text","text":"${'z'.repeat(9000)}"}`
    const input = [
      '{"type":"first"}', ask('a-1'), ask('a-1'), `${line.slice(0, 5000)}${answer}`, answer, line.slice(5000), ask('../x'), ask('hook', 'hook_callback'),
      ask('b-2'), '{"type":"control_cancel_request","request_id":"b-2"}', '{"type":"control_cancel_request","request_id":"c-3"}',
      '{"is_error":false,"type":"result"}', `cut off${answer}`, ''
    ].join('\n')
    const awk = [...command.slice(1), '-v', `state=${state}`, '-v', `run=${run}`, '-v', 'patience=5000', '-f', fileURLToPath(new URL('../services/runs/ask.awk', import.meta.url))]
    const { stdout, status } = spawnSync(command[0]!, awk, { input, encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } })
    t.equal(status, 0)
    const events = eventsOf(Buffer.from(stdout))
    const data = events.map(({ json }) => JSON.parse(json))
    t.strictSame(events.map(({ event }, index) => [event, data[index].type ?? data[index].id ?? data[index].text]), [
      ['claude', 'first'], ['permission.requested', 'a-1'], ['permission.resolved', 'a-1'], ['permission.resolved', 'a-1'], ['claude', 'text'],
      ['claude', 'control_request'], ['claude', 'control_request'], ['permission.requested', 'b-2'], ['permission.resolved', 'b-2'],
      ['claude', 'result'], ['permission.resolved', 'a-1'], ['output', 'cut off\n']
    ])
    t.match(JSON.parse(events[1]!.json), { input: { command: "'$(id)'" } })
    t.equal(events[4]!.json, line)
    t.match(JSON.parse(readFileSync(join(state, 'in'), 'utf8')), { response: { subtype: 'error', request_id: 'hook' } })
    t.equal(readlinkSync(join(state, 'asked', 'b-2', 'resolved')), 'deny claude')
    t.match(spawnSync('ls', [join(state, 'asked', 'a-1')], { encoding: 'utf8' }).stdout, 'request\ntold\nuntil\n')
  })
}

function textOf (events: ParsedEvent[]): string {
  return events.map(({ event, json }) => event === 'output' ? JSON.parse(json).text : '').join('')
}
