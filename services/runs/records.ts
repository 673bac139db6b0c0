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
  timeoutMs: Type.Integer()
})
export type StartedRecord = Static<typeof Started>

/** The last line of a log: how Claude ended, and what ended it. */
const Ended = Type.Object({
  record: Type.Literal('ended'),
  run: Text(100),
  exitCode: Type.Union([Type.Integer({ minimum: -1000, maximum: 1000 }), Type.Null()]),
  /** Why it was stopped, when it was. */
  stop: Type.Union([Type.Literal('cancelled'), Type.Literal('timeout'), Type.Literal('')]),
  /** What was gone when somebody else than the runner had to write this. */
  lost: Type.Optional(Type.Union([Type.Literal('runner'), Type.Literal('sandbox')])),
  durationMs: Type.Optional(Type.Integer({ minimum: 0 }))
})
export type EndedRecord = Static<typeof Ended>

export type RunRecord = StartedRecord | EndedRecord

/** A record as a line of the log, without its line end. */
export function writeRecord (record: RunRecord): string {
  return String.fromCharCode(separator) + JSON.stringify(record)
}

/** The record in a line, after its separator. Whatever is in the sandbox can write one, so its form is checked. */
export function readRecord (json: string): RunRecord | undefined {
  if (json.length > 10_000) return
  try {
    const value = JSON.parse(json)
    return Value.Check(Started, value) || Value.Check(Ended, value) ? value : undefined
  } catch {
    return undefined
  }
}
