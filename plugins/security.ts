import cookie from '@fastify/cookie'
import helmet from '@fastify/helmet'
import rateLimit from '@fastify/rate-limit'
import fp from 'fastify-plugin'
import { AppError } from '../errors.js'

/** Requests a minute from one address, whoever sends them: the brake on guessing keys. */
const perAddress = 3000

/** Headers a browser needs, cookies, and a rate limit that counts before anybody is asked who they are. */
export default fp(async (fastify) => {
  await fastify.register(helmet, {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'self'"],
        baseUri: ["'none'"],
        frameAncestors: ["'none'"],
        formAction: ["'self'"],
        imgSrc: ["'self'", 'data:'],
        objectSrc: ["'none'"]
      }
    },
    // TLS ends in front of this service; whoever ends it decides about HSTS.
    strictTransportSecurity: false
  })
  await fastify.register(cookie)
  await fastify.register(rateLimit, {
    global: false,
    max: perAddress,
    timeWindow: '1 minute',
    errorResponseBuilder: (_request, { max, after }) => new AppError('RATE_LIMITED', {
      message: `One address may send ${max} requests a minute: wait ${after}.`, details: { limit: max }
    })
  })
  fastify.addHook('onRequest', fastify.rateLimit())
}, { name: 'security', fastify: '5.x', dependencies: ['errors'] })
