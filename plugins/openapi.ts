import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import { Type } from '@sinclair/typebox'
import fp from 'fastify-plugin'
import type { FastifySchema } from 'fastify'
import '../schemas/operation.js'

const description = `Claude Code in isolated sandboxes.

Responses are JSON. With \`text/event-stream\` in \`Accept\`, creating a sandbox, running a command or a prompt, and
syncing respond with Server-Sent Events. Commands and prompts do so without an \`Accept\` header, too.

Errors have a stable \`code\`, a \`message\` for people, a \`hint\` and the \`requestId\`, also in
the header \`x-request-id\`.`

const File = Type.String({ format: 'binary' })

/** What Fastify does not know of a route: that it can answer with a stream, or takes a file. */
function describe ({ schema = {}, url }: { schema?: FastifySchema, url: string }) {
  const { events, takesFile, body, ...rest } = schema
  const response = { ...rest.response as Record<string, unknown> }
  if (events !== undefined) {
    const json = response['200']
    const content = { ...json !== undefined && { 'application/json': { schema: json } }, 'text/event-stream': { schema: events } }
    response['200'] = { description: 'JSON, or a stream of events, as Accept asks.', content }
  }
  return {
    schema: {
      ...rest,
      ...body !== undefined && { body: withoutDiscriminators(body) },
      ...schema.response !== undefined && { response },
      ...takesFile && { body: File, consumes: ['application/octet-stream'] }
    },
    // Fastify takes them with and without.
    url: url.replace(/(?<=.)\/$/, '')
  }
}

/** They are for the validator: in OpenAPI they select among named schemas only. */
function withoutDiscriminators (schema: unknown): unknown {
  return JSON.parse(JSON.stringify(schema, (key, value) => key === 'discriminator' ? undefined : value))
}

/** `/openapi.json` and `/docs`, from the schemas that validate requests. Register it before the routes. */
export default fp(async (fastify) => {
  await fastify.register(swagger, {
    transform: describe,
    openapi: {
      openapi: '3.1.0',
      servers: [{ url: '/' }],
      info: { title: 'Modal Sandbox', version: '1', description },
      components: {
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
