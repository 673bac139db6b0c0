import cookie from '@fastify/cookie'
import helmet from '@fastify/helmet'
import rateLimit from '@fastify/rate-limit'
import fp from 'fastify-plugin'
import { AppError } from '../errors.js'

/** Requests per minute from one address, authenticated or not: it limits the guessing of keys. */
const maxPerAddress = 3000

/** Nothing but the service's own files, and no script or style within a document. */
export const contentSecurityPolicy = {
  useDefaults: false,
  directives: {
    defaultSrc: ["'self'"],
    baseUri: ["'none'"],
    frameAncestors: ["'none'"],
    formAction: ["'self'"],
    imgSrc: ["'self'", 'data:'],
    objectSrc: ["'none'"]
  }
}

/** Security headers, cookies, and a rate limit per address that applies before authentication. */
export default fp(async (fastify) => {
  await fastify.register(helmet, {
    contentSecurityPolicy,
    // TLS ends at a proxy in front of this service, which also decides about HSTS.
    strictTransportSecurity: false
  })
  await fastify.register(cookie)
  await fastify.register(rateLimit, {
    global: false,
    max: maxPerAddress,
    timeWindow: '1 minute',
    errorResponseBuilder: (_request, { max, after }) => new AppError('RATE_LIMITED', {
      message: `One address may send ${max} requests per minute: wait ${after}.`, details: { limit: max }
    })
  })
  fastify.addHook('onRequest', fastify.rateLimit())
}, { name: 'security', fastify: '5.x', dependencies: ['errors'] })
