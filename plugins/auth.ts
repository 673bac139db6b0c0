import fp from 'fastify-plugin'
import type { FastifyRequest } from 'fastify'
import { AppError } from '../errors.js'
import type { Account } from '../schemas/account.js'
import type { AccountRegistry } from '../services/accounts/registry.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** The authenticated account. Set on every route behind {@link FastifyInstance.requireAccount}. */
    account: Account
  }
  interface FastifyInstance {
    /** Hook: authenticates the request (401, 403) and counts it against the account's rate limit (429). */
    requireAccount (request: FastifyRequest, reply: FastifyReply): Promise<void>
    /** The account of a request's credential; undefined when the request has none. */
    identify (request: FastifyRequest): Promise<Account | undefined>
    accounts: AccountRegistry
  }
}

interface AuthOptions { accounts: AccountRegistry }

/** The web UI's cookie. HttpOnly; it holds the credential itself, so every replica can read it. */
export const sessionCookie = 'modal_sandbox_session'

/** Authentication: `Authorization: Bearer`, `x-api-key`, or the web UI's cookie. */
export default fp<AuthOptions>(async (fastify, { accounts }) => {
  fastify.decorate('accounts', accounts)
  fastify.decorateRequest('account', null as unknown as Account)

  const countRequest = fastify.createRateLimit({
    max: (request) => request.account.limits.requestsPerMinute,
    keyGenerator: (request) => `account:${request.account.id}`,
    timeWindow: '1 minute'
  })

  fastify.decorate('identify', async (request) => {
    const credential = readCredential(request)
    return credential === undefined ? undefined : await accounts.authenticate(credential)
  })

  fastify.decorate('requireAccount', async (request, reply) => {
    const account = await fastify.identify(request)
    if (account === undefined) throw new AppError('UNAUTHENTICATED', { headers: { 'www-authenticate': 'Bearer' } })
    request.account = account
    request.log = reply.log = request.log.child({ accountId: account.id })
    const rate = await countRequest(request)
    if (!rate.isAllowed && rate.isExceeded) {
      throw new AppError('RATE_LIMITED', {
        message: `Your account may send ${rate.max} requests per minute.`,
        details: { limit: rate.max },
        headers: { 'retry-after': String(rate.ttlInSeconds) }
      })
    }
  })
}, { name: 'auth', fastify: '5.x', dependencies: ['security', 'context', 'errors', '@fastify/sensible'] })

function readCredential (request: FastifyRequest): string | undefined {
  const [scheme, token] = request.headers.authorization?.split(' ') ?? []
  if (scheme?.toLowerCase() === 'bearer' && token) return token
  const apiKey = request.headers['x-api-key']
  if (typeof apiKey === 'string' && apiKey !== '') return apiKey
  const cookie = request.cookies[sessionCookie]
  if (cookie !== undefined) refuseCrossSite(request)
  return cookie
}

/** Browsers send the cookie with every request, so one that another site's page made must be refused. */
function refuseCrossSite ({ method, headers, server }: FastifyRequest) {
  if (method === 'GET' || method === 'HEAD') return
  const site = headers['sec-fetch-site']
  const sameOrigin = site !== undefined
    ? site === 'same-origin'
    : headers.origin === undefined || hostOf(headers.origin) === headers.host
  if (!sameOrigin) throw server.httpErrors.forbidden('Another site sent this request with your cookie.')
}

function hostOf (origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined
}
