import { Type, type Static } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'

/** The runner's own lines begin with this byte (ASCII's record separator), which Claude's JSON never has unescaped. */
export const separator = 0x1e

const Text = (most: number) => Type.String({ maxLength: most })

/** The first line of a log: what is known of the run when it starts. Nothing in it is secret. */
const Started = Type.Object({
  record: Type.Literal('started'),
  run: Text(100),
  sandboxId: Text(200),
  sessionId: Type.Union([Text(100), Type.Null()]),
  startedAt: Type.String({ pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$' }),
  prompt: Text(500),
  format: Type.Union([Type.Literal('stream-json'), Type.Literal('text')]),
  onDisconnect: Type.Union([Type.Literal('terminate'), Type.Literal('continue')]),
  timeoutMs: Type.Integer(),
  /** Whether Claude asks: the run is interactive. */
  asks: Type.Optional(Type.Boolean())
})
export type StartedRecord = Static<typeof Started>

/** The last line of a log: how Claude ended, and what ended it. */
const Ended = Type.Object({
  record: Type.Literal('ended'),
  run: Text(100),
  exitCode: Type.Union([Type.Integer({ minimum: -1000, maximum: 1000 }), Type.Null()]),
  /** Why it was stopped before its result, when it was. */
  stop: Type.Union([Type.Literal('cancelled'), Type.Literal('timeout'), Type.Literal('')]),
  /** What was gone, when it was not the runner that wrote this. */
  lost: Type.Optional(Type.Union([Type.Literal('runner'), Type.Literal('sandbox')])),
  /** It was stopped because it did not exit after its result. */
  lingered: Type.Optional(Type.Boolean()),
  durationMs: Type.Optional(Type.Integer({ minimum: 0 })),
  /** Where in the log this record begins: a reader of the runner's output then knows whether it has missed anything. */
  at: Type.Optional(Type.Union([Type.Integer({ minimum: 0 }), Type.Null()]))
})
export type EndedRecord = Static<typeof Ended>

/** Claude asks something, always as whether it may use a tool; the request is the CLI's own, and can be large. */
const Asked = Type.Object({
  record: Type.Literal('asked'),
  run: Text(100),
  /** When, in seconds since the epoch. */
  at: Type.Integer({ minimum: 0, maximum: 1e11 }),
  /** How long it waits for an answer. Earlier versions wrote `patience`. */
  timeoutMs: Type.Integer({ minimum: 0, maximum: 1e12 }),
  request: Type.Object({
    request_id: Type.String({ pattern: '^[A-Za-z0-9-]{1,100}$' }),
    request: Type.Object({
      tool_name: Text(200),
      input: Type.Record(Type.String(), Type.Unknown()),
      tool_use_id: Type.Optional(Type.Unknown()),
      permission_suggestions: Type.Optional(Type.Unknown())
    })
  })
})
export type AskedRecord = Static<typeof Asked>

/** How a request was answered. `claude`: Claude has withdrawn it. */
const Resolved = Type.Object({
  record: Type.Literal('resolved'),
  run: Text(100),
  id: Type.String({ pattern: '^[A-Za-z0-9-]{1,100}$' }),
  decision: Type.Union([Type.Literal('allow'), Type.Literal('deny')]),
  by: Type.Union([Type.Literal('user'), Type.Literal('deadline'), Type.Literal('run_end'), Type.Literal('claude')])
})
export type ResolvedRecord = Static<typeof Resolved>

/** Only in the runner's output, never in the log: from here on the output is no longer a copy of the log. */
const Cut = Type.Object({ record: Type.Literal('cut'), run: Text(100) })

export type RunRecord = StartedRecord | EndedRecord | AskedRecord | ResolvedRecord | Static<typeof Cut>
const RunRecord = Type.Union([Started, Ended, Asked, Resolved, Cut])
/** All but `asked` records are shorter. */
const longest = 10_000
const beginsAsked = /^\{"record":"asked",/

/** A record as a line of the log, without its line end. */
export function writeRecord (record: RunRecord): string {
  return String.fromCharCode(separator) + JSON.stringify(record)
}

/** The record in a line, after its separator. Anything in the sandbox can write one, so its form is checked. */
export function readRecord (json: string): RunRecord | undefined {
  if (json.length > longest && !beginsAsked.test(json)) return
  try {
    const value = upgrade(JSON.parse(json))
    if (!Value.Check(RunRecord, value)) return
    // Throws when it is nested too deep to be written again; no tool's input is.
    if (value.record === 'asked') JSON.stringify(value.request)
    return value
  } catch {
    return undefined
  }
}

/** Logs on volumes outlive the version that wrote them; `hung` was recorded by mistake, for a run with a result. */
function upgrade (value: any): unknown {
  if (value?.record === 'asked' && 'patience' in value) {
    const { patience: timeoutMs, ...record } = value
    return { ...record, timeoutMs }
  }
  return value?.record === 'ended' && value.stop === 'hung' ? { ...value, stop: '' } : value
}
