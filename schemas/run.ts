import { Type, type Static } from '@sinclair/typebox'
import { Problem, strict, Timestamp, WholeSeconds } from './common.js'
import { eventStream } from './operation.js'

const Uuid = Type.String({ pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' })
/** Tools or patterns, such as `Bash` or `Bash(git *)`. */
const Tools = Type.Array(
  Type.String({ pattern: '^[A-Za-z_][^\\u0000-\\u001f]*$', maxLength: 200 }), { minItems: 1, maxItems: 100 })

const PromptText = (description: string) => Type.String({ minLength: 1, maxLength: 1_048_576, description })
const TextPart = Type.Object({ type: Type.Literal('text'), text: PromptText('All texts together: at most 1 MB as UTF-8.') }, strict)
const ImagePart = Type.Object({
  type: Type.Literal('image'),
  mediaType: Type.Union(['image/png', 'image/jpeg', 'image/gif', 'image/webp'].map((type) => Type.Literal(type as ImageType))),
  data: Type.String({
    minLength: 4, maxLength: 3_500_000, pattern: '^[A-Za-z0-9+/]+={0,2}$', description: 'Base64. Its bytes must be of `mediaType`.'
  })
}, strict)
type ImageType = 'image/png' | 'image/jpeg' | 'image/gif' | 'image/webp'
export type ImagePart = Static<typeof ImagePart>
export type PromptPart = Static<typeof TextPart> | ImagePart
/** By its `type`, so that an error is about a field of the part that was meant. */
const PromptPart = Type.Unsafe<PromptPart>({
  type: 'object', required: ['type'], discriminator: { propertyName: 'type' }, oneOf: [TextPart, ImagePart]
})
const Prompt = Type.Union([
  PromptText('At most 1 MB as UTF-8.'),
  Type.Array(PromptPart, {
    minItems: 1, maxItems: 100, description: 'Texts and at most 10 images, in their order. Not with outputFormat `text`.'
  })
])
export type Prompt = Static<typeof Prompt>
/** Bytes that the body of a run's request may have: with images it is larger than others. */
export const runBodyLimit = 12 * 1024 * 1024

const Fork = Type.Object({
  sessionId: { ...Uuid, description: 'It stays as it is.' },
  at: Type.Optional({ ...Uuid, description: 'The id of the last message that is kept. Default: all are.' })
}, { ...strict, description: 'Begins a new conversation, whose id may be `sessionId`, with the messages of another one.' })

export const RunSpec = Type.Object({
  prompt: Prompt,
  literal: Type.Optional(Type.Boolean({
    description: 'Whether a slash in front is text. Default: true; with `false`, `/compact` is a command of the CLI\'s.'
  })),
  sessionId: Type.Optional({ ...Uuid, description: 'Continues this conversation, or starts one with this id.' }),
  continue: Type.Optional(Type.Boolean({ description: 'Continues the latest conversation of this workspace.' })),
  fork: Type.Optional(Fork),
  model: Type.Optional(Type.String({
    pattern: '^[A-Za-z0-9][A-Za-z0-9._:/@\\[\\]-]*$',
    maxLength: 200,
    description: 'A model\'s id, or its alias in the CLI: `opus`, `sonnet`, `haiku`, `fable`.'
  })),
  effort: Type.Optional(Type.Union(['low', 'medium', 'high', 'xhigh', 'max'].map((effort) => Type.Literal(effort)), {
    description: 'How much Claude thinks and tries, as far as the model knows efforts. Default: the CLI\'s own.'
  })),
  permissionMode: Type.Optional(Type.Union(
    ['acceptEdits', 'ask', 'auto', 'bypassPermissions', 'default', 'dontAsk', 'plan'].map((mode) => Type.Literal(mode)), {
      description: '`ask`: each tool that changes something and is not in allowedTools needs permission. `plan`: Claude ' +
        'changes nothing until its plan is approved, which takes an interactive run.'
    })),
  allowedTools: Type.Optional(Tools),
  disallowedTools: Type.Optional(Tools),
  appendSystemPrompt: Type.Optional(Type.String({ minLength: 1, maxLength: 20_000, pattern: '^[^\\u0000]*$' })),
  interactive: Type.Optional(Type.Boolean({
    description: 'Somebody answers: Claude may ask questions, present plans, and ask for permission where its mode does not ' +
      'decide. Default: whether permissionMode is `ask`; otherwise Claude is told that it can ask nobody.'
  })),
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
  contextWindows: Type.Union([Type.Record(Type.String(), Type.Integer()), Type.Null()], {
    description: 'How many tokens the models of its conversation take, by their names, as the CLI says.'
  }),
  sessionId: Type.Union([Type.String(), Type.Null()])
})
export type Completion = Static<typeof Completion>

const Question = Type.Object({
  question: Type.String(),
  header: Type.String({ description: 'A word or two.' }),
  multiSelect: Type.Boolean({ description: 'Whether several options may be chosen.' }),
  options: Type.Array(Type.Object({
    label: Type.String(),
    description: Type.String(),
    preview: Type.Optional(Type.String({ description: 'What it would look like.' }))
  }))
})
export type Question = Static<typeof Question>

/** What Claude asks and waits for; the data of `permission.requested`. */
export const PendingPermission = Type.Object({
  id: Type.String(),
  kind: Type.Union([Type.Literal('tool'), Type.Literal('question'), Type.Literal('plan')], {
    description: 'Whether Claude asks for permission to use a tool, asks questions, or asks for approval of a plan.'
  }),
  toolName: Type.String(),
  toolUseId: Type.Union([Type.String(), Type.Null()], { description: 'The tool call in Claude\'s events that waits.' }),
  // Not a Record: its pattern would drop names with a line break.
  input: Type.Optional(Type.Unsafe<Record<string, unknown>>(Type.Object({}, {
    additionalProperties: true, description: 'Kind `tool`: what the tool is given.'
  }))),
  canRemember: Type.Optional(Type.Boolean({ description: 'Kind `tool`: whether the answer may have `remember`.' })),
  rules: Type.Optional(Type.Array(Type.String(), {
    description: 'Kind `tool`: what `"remember": "workspace"` allows, as rules of the CLI\'s such as `Bash(npm test:*)`.'
  })),
  questions: Type.Optional(Type.Array(Question, { description: 'Kind `question`.' })),
  plan: Type.Optional(Type.String({ description: 'Kind `plan`: Markdown.' })),
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
  prompt: Type.String({ description: 'The first 200 characters of its text; `[image]` where it has only images.' }),
  interactive: Type.Boolean({ description: 'Whether Claude asks. Otherwise there is never anything to answer.' }),
  pendingPermissions: Type.Array(PendingPermission),
  completion: Type.Optional(Completion)
})
export type RunView = Static<typeof RunView>

export const RunList = Type.Object({ runs: Type.Array(RunView) })

/** Any text: a malformed id is treated like an unknown one. */
export const RunParams = Type.Object({ id: Type.String(), runId: Type.String() })
export type RunParams = Static<typeof RunParams>

export const PermissionParams = Type.Object({ ...RunParams.properties, permissionId: Type.String() })

/** Any text without control characters or lone surrogates, which would not reach Claude as they are. */
const Text = (maxLength: number, description: string) =>
  Type.String({ minLength: 1, maxLength, pattern: '^[^\\u0000-\\u0008\\u000b-\\u001f\\ud800-\\udfff]*$', description })

export const PermissionAnswer = Type.Object({
  decision: Type.Union([Type.Literal('allow'), Type.Literal('deny')], {
    description: '`allow` answers a question and approves a plan, too.'
  }),
  message: Type.Optional(Text(4000, 'With `deny`: the reason, passed to Claude.')),
  answers: Type.Optional(Type.Array(Type.Object({
    options: Type.Optional(Type.Array(Text(1000, 'The label of an option.'), { minItems: 1, maxItems: 20 })),
    text: Type.Optional(Text(4000, 'An answer in other words; where several may be chosen, also beside options.'))
  }, strict), { minItems: 1, maxItems: 20, description: 'Kind `question`, with `allow`: one for each question, in their order.' })),
  permissionMode: Type.Optional(Type.Union(
    ['acceptEdits', 'ask', 'bypassPermissions'].map((mode) => Type.Literal(mode as ModeAfterPlan)),
    { description: 'Kind `plan`, with `allow`: how Claude goes on. Default: as before it planned; `ask` where the run began with `plan`.' })),
  remember: Type.Optional(Type.Union([Type.Literal('run'), Type.Literal('workspace')], {
    description: 'Kind `tool`, with `allow`. `run`: this tool needs no permission any more, whatever its input, until the ' +
      'run ends. `workspace`: what the request\'s `rules` say needs none any more in any run on this volume.'
  }))
}, strict)
export type PermissionAnswer = Static<typeof PermissionAnswer>
type ModeAfterPlan = 'acceptEdits' | 'ask' | 'bypassPermissions'

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

export const RunHeaders = Type.Object({
  prefer: Type.Optional(Type.String({
    description: 'respond-async: 202 at once. Without a reader the run goes on if onDisconnect is continue.'
  })),
  accept: Type.Optional(Type.String({ description: 'application/json: as with respond-async. Otherwise events are streamed.' }))
})

export const EventsHeaders = Type.Object({
  'last-event-id': Type.Optional(Type.String({ description: 'The id of the last event received. `after` counts more.' })),
  accept: Type.Optional(Type.String({ description: 'application/json: one page. Otherwise the events are streamed.' }))
})

export const RunEvents = eventStream({
  'run.started': Type.Object({
    runId: Type.String(),
    sandboxId: Type.String(),
    sessionId: Type.Union([Type.String(), Type.Null()]),
    startedAt: Timestamp
  }),
  claude: Type.Object({ type: Type.String() }, {
    additionalProperties: true, description: 'An object of the CLI\'s stream-json output, unchanged.'
  }),
  output: Type.Object({ text: Type.String() }, { description: 'What was printed that is not JSON.' }),
  'permission.requested': PendingPermission,
  'permission.resolved': Type.Object({
    id: Type.String(),
    decision: Type.Union([Type.Literal('allow'), Type.Literal('deny')]),
    by: Type.Union(['user', 'deadline', 'run_end', 'claude'].map((who) => Type.Literal(who)))
  }),
  'sandbox.expiring': Type.Object({ expiresAt: Timestamp }),
  gap: Type.Object({ from: Type.Integer(), to: Type.Integer() }, { description: 'Events between these ids are lost.' }),
  error: Problem,
  'run.completed': Completion
})
