import { Type, type Static, type StringOptions } from '@sinclair/typebox'

/** For every object in a request: an unknown field is probably a typo, so it is rejected. */
export const strict = { additionalProperties: false } as const

export const ErrorAnswer = Type.Object({
  statusCode: Type.Integer(),
  error: Type.String(),
  code: Type.String({ description: 'Stable: handle errors by their code.' }),
  message: Type.String({ description: 'What went wrong, for people.' }),
  hint: Type.String({ description: 'What to do about it.' }),
  field: Type.Optional(Type.String({ description: 'What of the request is wrong, such as body.image.registry.' })),
  requestId: Type.String(),
  step: Type.Optional(Type.String({ description: 'The step of a longer operation that failed.' }))
}, { additionalProperties: true })

/** An error that is told within something else, such as an event of a run. */
export const Problem = Type.Omit(ErrorAnswer, ['error', 'requestId'], { additionalProperties: true })

/** What any route of the API may answer instead. */
export const errorAnswers = { '4xx': ErrorAnswer, '5xx': ErrorAnswer }

export const EnvironmentVariables = Type.Record(
  Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]*$' }), Type.String({ maxLength: 32_768 }),
  { maxProperties: 200, additionalProperties: false })

export const AbsolutePath = Type.String({ pattern: '^/[^\\u0000]*$', maxLength: 1024 })

const second = 1000
/** Milliseconds: Modal accepts whole seconds up to one day. */
export const WholeSeconds = Type.Integer({ minimum: second, maximum: 86_400 * second, multipleOf: second })

/** A GPU type, with a count of up to 8. @param more characters that its name may have. */
export const Gpu = (more = '', options: StringOptions = {}) =>
  Type.String({ pattern: `^[A-Za-z0-9${more}-]{1,30}!?(:[1-8])?$`, ...options })

/** A name with a dot could reach another account's volume. */
export const volumeNamePattern = '^[A-Za-z0-9_-]{1,32}$'

export const Timestamp = Type.String({ format: 'date-time' })

export type ErrorAnswer = Static<typeof ErrorAnswer>
