import fp from 'fastify-plugin'
import type { FastifyRequest } from 'fastify'
import { AppError } from '../errors.js'
import type { Account } from '../schemas/account.js'
import type { AccountRegistry } from '../services/accounts/registry.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks. Set on every route behind {@link FastifyInstance.requireAccount}. */
    account: Account
  }
  interface FastifyInstance {
    /** Hook: finds out who asks, or refuses (401, 403), and counts the request against the account's rate (429). */
    requireAccount (request: FastifyRequest, reply: FastifyReply): Promise<void>
    /** The account behind a request's credential; undefined when it has none. */
    identify (request: FastifyRequest): Promise<Account | undefined>
    accounts: AccountRegistry
  }
}

export interface AuthOptions { accounts: AccountRegistry }

/** The web UI's cookie: HttpOnly, holding the credential itself, so that every replica can read it. */
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
    request.ids.accountId = account.id
    request.log = reply.log = request.log.child({ accountId: account.id })
    const rate = await countRequest(request)
    if (!rate.isAllowed && rate.isExceeded) {
      throw new AppError('RATE_LIMITED', {
        message: `Your account may send ${rate.max} requests a minute.`,
        details: { limit: rate.max },
        headers: { 'retry-after': String(rate.ttlInSeconds) }
      })
    }
  })
}, { name: 'auth', fastify: '5.x', dependencies: ['security', 'context', 'errors'] })

function readCredential (request: FastifyRequest): string | undefined {
  const [scheme, token] = request.headers.authorization?.split(' ') ?? []
  if (scheme?.toLowerCase() === 'bearer' && token) return token
  const apiKey = request.headers['x-api-key']
  if (typeof apiKey === 'string' && apiKey !== '') return apiKey
  const cookie = request.cookies[sessionCookie]
  if (cookie !== undefined) refuseForeignPage(request)
  return cookie
}

/** A cookie comes along by itself: a request that a foreign page made with it must not count. */
function refuseForeignPage ({ method, headers }: FastifyRequest) {
  if (method === 'GET' || method === 'HEAD') return
  const site = headers['sec-fetch-site']
  const sameOrigin = site !== undefined
    ? site === 'same-origin'
    : headers.origin === undefined || hostOf(headers.origin) === headers.host
  if (!sameOrigin) throw new AppError('FORBIDDEN', { message: 'Another site sent this request with your cookie.' })
}

function hostOf (origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined
}
