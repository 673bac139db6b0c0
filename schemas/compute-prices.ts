import { Type, type Static } from '@sinclair/typebox'

/** US dollars for an hour of a sandbox. */
export const ComputePrices = Type.Object({
  cpuCoreHour: Type.Number({ minimum: 0, description: 'For each physical core.' }),
  memoryGiBHour: Type.Number({ minimum: 0 })
}, { additionalProperties: false })
export type ComputePrices = Static<typeof ComputePrices>
