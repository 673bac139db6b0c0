import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import fp from 'fastify-plugin'

const description = `Claude Code in isolated sandboxes.

Responses are JSON. With \`text/event-stream\` in \`Accept\`, creating a sandbox, running a command or a prompt, and
syncing respond with Server-Sent Events. Commands and prompts do so without an \`Accept\` header, too.

Errors have a stable \`code\`, a \`message\` for people, a \`hint\` and the \`requestId\`, also in
the header \`x-request-id\`.`

/** `/openapi.json` and `/docs`, from the schemas that validate requests. Register it before the routes. */
export default fp(async (fastify) => {
  await fastify.register(swagger, {
    openapi: {
      openapi: '3.1.0',
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
