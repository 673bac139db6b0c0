import { Type, type Static } from '@sinclair/typebox'
import { strict, Timestamp, WholeSeconds } from './common.js'

const Uuid = Type.String({ pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' })
/** Tools or patterns, such as `Bash` or `Bash(git *)`. */
const Tools = Type.Array(
  Type.String({ pattern: '^[A-Za-z_][^\\u0000-\\u001f]*$', maxLength: 200 }), { minItems: 1, maxItems: 100 })

export const RunSpec = Type.Object({
  prompt: Type.String({ minLength: 1, maxLength: 1_048_576, description: 'At most 1 MB as UTF-8.' }),
  sessionId: Type.Optional({ ...Uuid, description: 'Continues this conversation, or starts one with this id.' }),
  continue: Type.Optional(Type.Boolean({ description: 'Continues the latest conversation of this workspace.' })),
  model: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._:/@\\[\\]-]*$', maxLength: 200 })),
  permissionMode: Type.Optional(Type.Union(
    ['acceptEdits', 'ask', 'auto', 'bypassPermissions', 'default', 'dontAsk', 'plan'].map((mode) => Type.Literal(mode)),
    { description: '`ask`: each tool that changes something and is not in allowedTools needs permission.' })),
  allowedTools: Type.Optional(Tools),
  disallowedTools: Type.Optional(Tools),
  appendSystemPrompt: Type.Optional(Type.String({ minLength: 1, maxLength: 20_000, pattern: '^[^\\u0000]*$' })),
  maxTurns: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000 })),
  maxBudgetUsd: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 100_000 })),
  outputFormat: Type.Optional(Type.Union([Type.Literal('stream-json'), Type.Literal('text')])),
  timeoutMs: Type.Optional(WholeSeconds),
  onDisconnect: Type.Optional(Type.Union([Type.Literal('terminate'), Type.Literal('continue')]))
}, strict)
export type RunSpec = Static<typeof RunSpec>

const Outcome = Type.Union(
  ['result', 'agent_error', 'exit', 'signal', 'timeout', 'cancelled', 'sandbox_lost', 'stream_lost']
    .map((outcome) => Type.Literal(outcome as OutcomeName)))
export type OutcomeName =
  'result' | 'agent_error' | 'exit' | 'signal' | 'timeout' | 'cancelled' | 'sandbox_lost' | 'stream_lost'

/** How a run ended; the data of `run.completed`. */
export const Completion = Type.Object({
  outcome: Outcome,
  exitCode: Type.Union([Type.Integer(), Type.Null()]),
  isError: Type.Boolean(),
  durationMs: Type.Union([Type.Integer(), Type.Null()], { description: 'Null when it is not known.' }),
  costUsd: Type.Union([Type.Number(), Type.Null()], { description: 'The cost of this run only.' }),
  usage: Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()]),
  costSource: Type.Union([Type.Literal('gateway'), Type.Literal('claude')], {
    description: 'Who says what it cost: the model gateway by the API\'s answers, or the sandbox.'
  }),
  exceededBudget: Type.Union([Type.Literal('maxBudgetUsd'), Type.Literal('monthlyBudgetUsd'), Type.Null()], {
    description: 'The budget for which the model gateway has refused a request.'
  }),
  sessionId: Type.Union([Type.String(), Type.Null()])
})
export type Completion = Static<typeof Completion>

/** A tool call that waits for permission; the data of `permission.requested`. */
export const PendingPermission = Type.Object({
  id: Type.String(),
  toolName: Type.String(),
  // Not a Record: its pattern would drop names with a line break.
  input: Type.Unsafe<Record<string, unknown>>(Type.Object({}, { additionalProperties: true })),
  requestedAt: Timestamp,
  expiresAt: { ...Timestamp, description: 'Without an answer by then, the request is denied.' }
})
export type PendingPermission = Static<typeof PendingPermission>

export const RunView = Type.Object({
  runId: Type.String(),
  sandboxId: Type.String(),
  sessionId: Type.Union([Type.String(), Type.Null()]),
  status: Type.Union([Type.Literal('running'), Type.Literal('completed')]),
  startedAt: Timestamp,
  prompt: Type.String({ description: 'The first 200 characters.' }),
  pendingPermissions: Type.Array(PendingPermission),
  completion: Type.Optional(Completion)
})
export type RunView = Static<typeof RunView>

export const RunList = Type.Object({ runs: Type.Array(RunView) })

/** Any text: a malformed id is treated like an unknown one. */
export const RunParams = Type.Object({ id: Type.String(), runId: Type.String() })
export type RunParams = Static<typeof RunParams>

export const PermissionParams = Type.Object({ ...RunParams.properties, permissionId: Type.String() })

export const PermissionAnswer = Type.Object({
  decision: Type.Union([Type.Literal('allow'), Type.Literal('deny')]),
  // 900 characters of up to four bytes: the answer must fit into the 4096 bytes that a pipe writes atomically.
  message: Type.Optional(Type.String({
    minLength: 1,
    maxLength: 900,
    pattern: '^[^\\u0000-\\u0008\\u000b-\\u001f\\ud800-\\udfff]*$',
    description: 'The reason, passed to Claude with a denial.'
  }))
}, strict)
export type PermissionAnswer = Static<typeof PermissionAnswer>

export const EventsQuery = Type.Object({
  after: Type.Optional(Type.Integer({ minimum: 0, description: 'The id of the last event received.' }))
}, strict)

export const NothingMore = Type.Null({
  description: 'To a request with `Last-Event-ID`: the run is completed, and all its events were read. An EventSource stops.'
})

export const EventsPage = Type.Object({
  events: Type.Array(Type.Object({ id: Type.Integer(), event: Type.String(), data: Type.Unknown() })),
  next: Type.Integer({ description: 'Pass it as `after` to get the next page.' }),
  done: Type.Boolean({ description: 'Whether these are the last events.' })
})

export const Cancellation = Type.Composite([RunView, Type.Object({
  left: Type.Integer({ description: 'Processes of the run that are still alive: always 0, as any other number is the error RUN_NOT_ENDED.' }),
  durationMs: Type.Integer()
})])
