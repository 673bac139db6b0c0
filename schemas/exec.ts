import { Type, type Static } from '@sinclair/typebox'
import { AbsolutePath, EnvironmentVariables, ErrorAnswer, strict, WholeSeconds } from './common.js'
import { eventStream } from './operation.js'
import { SecretNames } from './sandbox.js'

const mebibyte = 1024 * 1024

/** A command to run in a sandbox. */
export const ExecSpec = Type.Object({
  command: Type.Array(Type.String({ pattern: '^[^\\u0000]*$' }), {
    minItems: 1,
    maxItems: 10_000,
    description: 'The program and its arguments, without a shell. At most 65,536 characters in total.'
  }),
  workdir: Type.Optional(AbsolutePath),
  env: Type.Optional(EnvironmentVariables),
  secrets: Type.Optional(SecretNames),
  timeoutMs: Type.Optional(WholeSeconds),
  stdin: Type.Optional(Type.String({
    maxLength: mebibyte, description: 'Text for its standard input, which is then closed.'
  })),
  encoding: Type.Union([Type.Literal('utf8'), Type.Literal('base64')], {
    default: 'utf8', description: 'base64 preserves output that is not UTF-8.'
  })
}, strict)
export type ExecSpec = Static<typeof ExecSpec>

/** How a command ended. */
export const ExecExit = Type.Object({
  exitCode: Type.Integer({ description: '128 plus the number of the signal, if a signal ended it.' }),
  timedOut: Type.Boolean(),
  durationMs: Type.Integer()
})
export type ExecExit = Static<typeof ExecExit>

const perStream = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Object({ stdout: schema, stderr: schema })

export const ExecResult = Type.Composite([ExecExit, Type.Object({
  stdout: Type.String({ description: 'The first MiB, in the requested encoding.' }),
  stderr: Type.String(),
  truncated: perStream(Type.Boolean()),
  bytes: perStream(Type.Integer({ description: 'How much the command wrote, even if the output is truncated.' }))
})])
export type ExecResult = Static<typeof ExecResult>

const Output = Type.Object({
  text: Type.Optional(Type.String({ description: 'With the encoding utf8.' })),
  base64: Type.Optional(Type.String({ description: 'With the encoding base64.' }))
})

export const ExecEvents = eventStream({ stdout: Output, stderr: Output, exit: ExecExit, error: ErrorAnswer })
