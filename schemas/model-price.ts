import { Type, type Static } from '@sinclair/typebox'

/** US dollars per million tokens. What is left out follows from the price of input, as in Anthropic's list. */
export const ModelPrice = Type.Object({
  input: Type.Number({ minimum: 0 }),
  output: Type.Number({ minimum: 0 }),
  cacheRead: Type.Optional(Type.Number({ minimum: 0, description: 'Default: a tenth of input.' })),
  cacheWrite: Type.Optional(Type.Number({ minimum: 0, description: 'For five minutes. Default: 1.25 times input.' })),
  cacheWrite1h: Type.Optional(Type.Number({ minimum: 0, description: 'For an hour. Default: twice input.' })),
  /** Prompts above so many tokens cost `factor` times as much. */
  long: Type.Optional(Type.Object({ above: Type.Integer({ minimum: 1 }), factor: Type.Number({ minimum: 1 }) })),
  /** What fast mode costs more. */
  fastFactor: Type.Optional(Type.Number({ minimum: 1, description: 'Default: 2.' }))
}, { additionalProperties: false })
export type ModelPrice = Static<typeof ModelPrice>
