import type { FastifySchema } from 'fastify'
import type { ErrorCode } from '../errors.js'
import '../schemas/operation.js'

/** What any request may get, whatever it asks for. */
const always: ErrorCode[] = ['BAD_REQUEST', 'RATE_LIMITED', 'INTERNAL', 'SHUTTING_DOWN']
const withBody: ErrorCode[] = ['PAYLOAD_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE']
const withoutBody = ['GET', 'HEAD']

interface Route { method: string | string[], schema?: FastifySchema | undefined }

/** The codes with which a route may fail, as its schema says. */
export function declaredErrors ({ method, schema }: Route): ErrorCode[] {
  const ofBody = [method].flat().every((name) => withoutBody.includes(name)) ? [] : withBody
  return [...new Set([...always, ...ofBody, ...schema?.errors ?? []])]
}
