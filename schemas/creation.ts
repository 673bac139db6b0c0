import { Type, type Static } from '@sinclair/typebox'
import { Problem, Timestamp } from './common.js'
import { Warning } from './sandbox.js'

/** A sandbox that is being created while nobody waits. */
export const Creation = Type.Object({
  id: Type.String(),
  status: Type.Union([Type.Literal('creating'), Type.Literal('created'), Type.Literal('failed')]),
  startedAt: Timestamp,
  step: Type.Union([Type.String(), Type.Null()], { description: 'The one that began last.' }),
  sandboxId: Type.Union([Type.String(), Type.Null()], { description: 'Once it is created.' }),
  warnings: Type.Array(Warning),
  error: Type.Union([Problem, Type.Null()], {
    description: 'Why it failed.'
  })
})
export type Creation = Static<typeof Creation>

export const CreationParams = Type.Object({ creationId: Type.String() })
