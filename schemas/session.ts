import { Type, type Static } from '@sinclair/typebox'
import { strict, Timestamp } from './common.js'

export const SessionSummary = Type.Object({
  sessionId: Type.String(),
  title: Type.String({ description: 'The name that it was given, or the beginning of the first prompt.' }),
  startedAt: Timestamp,
  updatedAt: Timestamp,
  messages: Type.Integer()
})
export type SessionSummary = Static<typeof SessionSummary>

export const SessionList = Type.Object({ sessions: Type.Array(SessionSummary) })

export const SessionParams = Type.Object({ id: Type.String(), sessionId: Type.String() })

export const SessionChange = Type.Object({
  title: Type.Union([
    Type.String({ minLength: 1, maxLength: 100, pattern: '^(?=.*\\S)[^\\u0000-\\u001f\\u007f\\ud800-\\udfff]*$' }),
    Type.Null()
  ], { description: 'Its name, kept on the volume; null: the beginning of the first prompt.' })
}, strict)

export const SessionName = Type.Object({ sessionId: Type.String(), title: Type.Union([Type.String(), Type.Null()]) })
export type SessionName = Static<typeof SessionName>

export const DeletedSession = Type.Object({
  sessionId: Type.String(), runs: Type.Array(Type.String(), { description: 'The runs that were deleted with it.' })
})
export type DeletedSession = Static<typeof DeletedSession>

export const SessionQuery = Type.Object({
  after: Type.Optional(Type.String({ pattern: '^\\d{1,15}$', description: 'The `next` of the previous page.' })),
  limit: Type.Integer({ minimum: 1, maximum: 1000, default: 200 })
}, strict)

export const SessionMessage = Type.Object({
  id: Type.String(),
  type: Type.Union([Type.Literal('user'), Type.Literal('assistant'), Type.Literal('system')]),
  time: Type.String(),
  message: Type.Record(Type.String(), Type.Unknown(), { description: 'The message in the format of the model API.' }),
  parentToolUseId: Type.Union([Type.String(), Type.Null()])
})
export type SessionMessage = Static<typeof SessionMessage>

export const SessionPage = Type.Object({
  sessionId: Type.String(),
  messages: Type.Array(SessionMessage),
  next: Type.Union([Type.String(), Type.Null()], {
    description: 'Pass it as `after` to get the next page; null on the last page.'
  })
})
export type SessionPage = Static<typeof SessionPage>
