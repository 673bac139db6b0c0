import { Type, type TSchema } from '@sinclair/typebox'
import type { ErrorCode } from '../errors.js'
import { Timestamp } from './common.js'

declare module 'fastify' {
  interface FastifySchema {
    /** The events of a route that can answer with a stream; for the API's description only. */
    events?: TSchema
    /** The route's body is a file; for the API's description only. */
    takesFile?: true
    /** What the route may fail with, besides what any may. Tests fail on others. */
    errors?: readonly ErrorCode[]
  }
}

/** What every stream may say. */
const always = {
  heartbeat: Type.Object({ time: Timestamp }, { description: 'Every ten seconds.' }),
  shutdown: Type.Object({}, { description: 'The service stops: the last event.' })
}

/** A stream of Server-Sent Events: the data of each, by its name. */
export function eventStream (events: Record<string, TSchema>): TSchema {
  const variants = Object.entries({ ...events, ...always }).map(([name, data]) => Type.Object({
    event: Type.Literal(name), id: Type.Optional(Type.String()), data
  }, { title: name }))
  return Type.Union(variants, { description: 'Server-Sent Events: names, ids where the stream can be resumed, and JSON data.' })
}
