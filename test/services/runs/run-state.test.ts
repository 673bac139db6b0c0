import t from 'tap'
import { writeRecord } from '../../../services/runs/records.js'
import { completion, outcomeOf, RunState } from '../../../services/runs/run-state.js'
import { asked, ended, eventsOf, resolved, run, started } from '../../helpers/run-log.js'

t.test('The outcome is what happened, whatever the exit code says', async (t) => {
  const ok = { is_error: false }
  const failed = { is_error: true }
  const cases = [
    [{ exitCode: 0 }, ok, 'result'], [{ exitCode: 1 }, failed, 'agent_error'], [{ exitCode: 0 }, undefined, 'exit'],
    [{ exitCode: 1 }, undefined, 'exit'], [{ exitCode: 137 }, undefined, 'signal'], [{ exitCode: 137, stop: 'timeout' }, undefined, 'timeout'],
    [{ exitCode: 0, stop: 'cancelled' }, failed, 'cancelled'], [{ exitCode: null, lost: 'sandbox' }, undefined, 'sandbox_lost'],
    [{ exitCode: null, lost: 'stream' }, undefined, 'stream_lost'], [{ exitCode: null, lost: 'stream' }, ok, 'result'],
    [{ exitCode: null, lost: 'runner' }, undefined, 'signal'], [{ exitCode: 143 }, ok, 'signal'], [{ exitCode: 3 }, ok, 'exit'],
    [{ exitCode: 143, lingered: true }, ok, 'result'], [{ exitCode: null, lost: 'runner' }, ok, 'signal']
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

t.test('How much context the models take is told where the CLI says it', async (t) => {
  const windowsOf = (modelUsage: unknown) => {
    const result = { is_error: false, modelUsage }
    return completion({ stop: '', exitCode: 0 }, { result, text: false, sessionId: null }).contextWindows
  }
  t.strictSame(windowsOf({ a: { contextWindow: 200_000, costUSD: 1 }, b: { contextWindow: 5 } }), { a: 200_000, b: 5 })
  t.strictSame(windowsOf({ a: { contextWindow: 0 }, b: {}, c: null, d: { contextWindow: '5' }, e: { contextWindow: 1.5 } }), null)
  t.equal(windowsOf(undefined), null)
  t.equal(windowsOf({ ['x'.repeat(201)]: { contextWindow: 5 } }), null)
  const many = Object.fromEntries(Array.from({ length: 1000 }, (_, at) => [`m${at}`, { contextWindow: 5 }]))
  t.equal(Object.keys(windowsOf(many)!).length, 20)
})

t.test('A run is told from its log alone', async (t) => {
  const state = new RunState()
  const log = `${writeRecord(started)}\n{"type":"system","session_id":"s-1"}\n{"type":"result","is_error":false,"session_id":"s-1"}\n{"type":"result","is_error":true,"session_id":"s-2"}\n${writeRecord(ended)}\n`
  for (const event of eventsOf(Buffer.from(log))) state.apply(event)
  t.equal(state.sessionId, 's-1')
  t.match(state.completion(state.ended!), { outcome: 'result', exitCode: 0, durationMs: 5, sessionId: 's-1' })
})

t.test('After /clear the run is about the conversation that the CLI has begun, and only if its own was cleared', async (t) => {
  const stateAfter = (reset: string) => {
    const state = new RunState()
    const lines = [
      writeRecord(started), '{"type":"system","session_id":"s-1"}', `{"type":"conversation_reset","session_id":"${reset}"}`,
      '{"type":"system","subtype":"status","session_id":"s-1"}', '{"type":"system","subtype":"init","session_id":"s-2"}',
      '{"type":"result","is_error":false,"session_id":"s-2"}', writeRecord(ended)
    ]
    for (const event of eventsOf(Buffer.from(`${lines.join('\n')}\n`))) state.apply(event)
    return state
  }
  t.match(stateAfter('s-1').completion(ended), { outcome: 'result', sessionId: 's-2' })
  t.match(stateAfter('s-3').completion(ended), { outcome: 'exit', sessionId: 's-1' })
})

t.test('A result that something else in the sandbox has written can not do harm', async (t) => {
  for (const odd of [null, [null], 'x', 7, { a: null }, { a: { costUSD: 'x' } }, { a: { costUSD: Infinity } }]) {
    const models = { model_usage_since_last_result: odd, modelUsage: odd }
    const result = { is_error: odd, usage: odd, total_cost_usd: odd, ...models }
    const { costUsd, usage } = completion({ stop: '', exitCode: 0 }, { result, text: false, sessionId: null })
    t.ok(costUsd === null || Number.isFinite(costUsd), JSON.stringify(odd))
    t.ok(usage === null || (typeof usage === 'object' && !Array.isArray(usage)))
  }
  for (const usage of [JSON.parse(`{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`), { a: 'x'.repeat(100_000) }]) {
    t.equal(completion({ stop: '', exitCode: 0 }, { result: { usage }, text: false, sessionId: null }).usage, null)
  }
})

t.test('What Claude asks for and its answer are events, and what is open is known from them', async (t) => {
  const log = Buffer.from(`${writeRecord(started)}\n${writeRecord(asked)}\n{"type":"x"}\n${writeRecord(resolved)}\n`)
  const events = eventsOf(log, 9)
  const request = { id: 'a-1', kind: 'tool', toolName: 'Bash', toolUseId: null, input: { command: 'x' }, canRemember: false, requestedAt: '2023-11-14T22:13:20.000Z', expiresAt: '2023-11-14T22:14:20.000Z' }
  t.strictSame(events.slice(1).map(({ event, json }) => [event, JSON.parse(json)]), [
    ['permission.requested', request], ['claude', { type: 'x' }], ['permission.resolved', { id: 'a-1', decision: 'deny', by: 'deadline' }]
  ])
  t.strictSame(eventsOf(log.subarray(events[1]!.id), 9, 'stream-json', [], events[1]!.id), events.slice(2), 'and from any of them on')
  const state = new RunState()
  for (const event of events.slice(0, 3)) state.apply(event)
  t.strictSame(state.pendingPermissions, [request])
  for (const event of [events[1]!, events[3]!, events[3]!]) state.apply(event)
  t.strictSame(state.pendingPermissions, [])
})

t.test('A request is shown without secrets; one that no tool would make is just output', async (t) => {
  const secret = { ...asked, request: { ...asked.request, request: { tool_name: 'Bash', input: { command: 'echo sk-123' } } } }
  const [event] = eventsOf(Buffer.from(`${writeRecord(secret)}\n`), 5, 'stream-json', ['sk-123'])
  t.match(event, { event: 'permission.requested', json: /echo \[redacted\]/ })
  const { request } = asked
  const deep = `{"record":"asked","run":"${run}","at":1,"timeoutMs":1,"request":{"request_id":"a","request":{"tool_name":"T","input":{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}}}}`
  for (const odd of [
    { ...asked, run: `run_${'2'.repeat(20)}` }, { ...asked, at: 1e15 }, { ...asked, timeoutMs: -1 }, { ...asked, request: null },
    { ...asked, request: { ...request, request_id: '../x' } }, { ...asked, request: { ...request, request: { tool_name: 'T', input: [] } } },
    { ...resolved, by: '<b>' }, { ...resolved, decision: 'maybe' }, { ...resolved, id: 7 }
  ].map((record) => JSON.stringify(record)).concat(deep)) {
    t.strictSame(eventsOf(Buffer.from(`\x1e${odd}\n`)).map(({ event }) => event), ['output'], odd.slice(0, 120))
  }
  const state = new RunState()
  const large = { ...asked.request.request, input: { text: 'y'.repeat(500_000) } }
  const many = Array.from({ length: 10 }, (_, index) => writeRecord({ ...asked, request: { request_id: `n-${index}`, request: large } }))
  for (const one of eventsOf(Buffer.from(many.join('\n')))) state.apply(one)
  t.equal(state.pendingPermissions.length, 4, 'no more is kept than two megabytes')
})
