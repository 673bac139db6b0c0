import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import { Type } from '@sinclair/typebox'
import fp from 'fastify-plugin'
import type { FastifySchema, RouteOptions } from 'fastify'
import type { ErrorCode } from '../errors.js'
import '../schemas/operation.js'
import { declaredErrors } from './declared-errors.js'
import { ErrorBody, withErrors } from './described-errors.js'

const description = `Claude Code in isolated sandboxes.

Responses are JSON. With \`text/event-stream\` in \`Accept\`, creating a sandbox, running a command or a prompt, and
syncing respond with Server-Sent Events. Commands and prompts do so without an \`Accept\` header, too.

Errors have a stable \`code\`, a \`message\` for people, a \`hint\` and the \`requestId\`, also in
the header \`x-request-id\`.`

const File = Type.String({ format: 'binary' })

/** What Fastify does not know of a route: that it can answer with a stream, or takes a file. */
function describe ({ schema = {}, url }: { schema?: FastifySchema, url: string }) {
  const { events, takesFile, body, querystring, errors, ...rest } = schema
  const { '4xx': _refused, '5xx': _failed, ...response } = { ...rest.response as Record<string, unknown> }
  const { format } = response['200'] as { format?: string } ?? {}
  if (format === 'binary') {
    response['200'] = { description: 'The file.', content: { 'application/octet-stream': { schema: File } } }
  }
  if (events !== undefined) {
    const json = response['200']
    const content = { ...json !== undefined && { 'application/json': { schema: json } }, 'text/event-stream': { schema: events } }
    response['200'] = { description: 'JSON, or a stream of events, as Accept asks.', content }
  }
  return {
    schema: {
      ...rest,
      ...body !== undefined && { body: asSent(body) },
      ...querystring !== undefined && { querystring: asSent(querystring) },
      ...schema.response !== undefined && { response },
      ...takesFile && { body: File, consumes: ['application/octet-stream'] }
    },
    // Fastify takes them with and without.
    url: url.replace(/(?<=.)\/$/, '')
  }
}

interface ObjectSchema { properties?: Record<string, { default?: unknown }>, required?: string[] }

/**
 * A schema for the validator as clients should see it: what has a default need not be sent, and in OpenAPI
 * discriminators select among named schemas only.
 */
function asSent (schema: unknown): unknown {
  return JSON.parse(JSON.stringify(schema, (key, value: unknown) => {
    if (key === 'discriminator') return undefined
    const { properties, required } = (value ?? {}) as ObjectSchema
    if (properties === undefined || !Array.isArray(required)) return value
    return { ...value as object, required: required.filter((name) => properties[name]?.default === undefined) }
  }))
}

/** `/openapi.json` and `/docs`, from the schemas that validate requests. Register it before the routes. */
export default fp(async (fastify) => {
  const codesOf = new Map<string, ErrorCode[]>()
  await fastify.register(swagger, {
    transform: ({ schema, url, route }: { schema?: FastifySchema, url: string, route: RouteOptions }) => {
      if (schema?.operationId !== undefined) codesOf.set(schema.operationId, declaredErrors(route))
      return describe({ schema, url })
    },
    transformObject: (document) => withErrors('openapiObject' in document ? document.openapiObject : {}, codesOf),
    openapi: {
      openapi: '3.1.0',
      servers: [{ url: '/' }],
      info: { title: 'Modal Sandbox', version: '1', description },
      components: {
        schemas: { Error: ErrorBody },
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer', description: 'An API key or a JWT.' },
          apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key' }
        }
      },
      security: [{ bearer: [] }, { apiKey: [] }]
    }
  })
  fastify.get('/openapi.json', { schema: { hide: true } }, async () => fastify.swagger())
  await fastify.register(swaggerUi, {
    routePrefix: '/docs',
    uiConfig: { url: '/openapi.json' },
    // Swagger UI uses inline styles.
    staticCSP: {
      'default-src': ["'self'"],
      'base-uri': ["'none'"],
      'frame-ancestors': ["'none'"],
      'img-src': ["'self'", 'data:'],
      'object-src': ["'none'"],
      'style-src': ["'self'", "'unsafe-inline'"]
    }
  })
}, { name: 'openapi', fastify: '5.x' })
