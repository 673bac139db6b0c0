import fastifyCors from '@fastify/cors'
import fp from 'fastify-plugin'

interface CorsOptions { origins: readonly string[] }

/** What a page of another origin may read of an answer, besides its body. */
const exposedHeaders = ['etag', 'location', 'retry-after', 'x-request-id', 'preference-applied']
const day = 86_400

/** Lets pages of the configured origins use the API (CORS). Without any, nothing is registered and nobody else may. */
export default fp<CorsOptions>(async (fastify, { origins }) => {
  if (origins.length === 0) return
  await fastify.register(fastifyCors, {
    origin: [...origins], credentials: true, methods: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'], exposedHeaders, maxAge: day
  })
}, { name: 'cors', fastify: '5.x' })
