import fp from 'fastify-plugin'
import type { CookieSerializeOptions } from '@fastify/cookie'
import type { FastifyRequest } from 'fastify'
import { AppError } from '../errors.js'
import type { Account } from '../schemas/account.js'
import type { BrowserSessions } from '../services/accounts/browser-sessions.js'
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
    browserSessions: BrowserSessions
    sessionCookie: SessionCookie
    trustedOrigins: readonly string[]
  }
}

interface AuthOptions {
  accounts: AccountRegistry
  browserSessions: BrowserSessions
  /** Whether browsers may send the cookie over TLS only. */
  secure: boolean
  /** Whose pages may send it, besides the service's own. */
  trustedOrigins?: readonly string[]
}

/** The web UI's cookie. It holds a session, never a credential, and scripts cannot read it. */
interface SessionCookie { name: string, options: CookieSerializeOptions }

function sessionCookie (secure: boolean): SessionCookie {
  const options = { httpOnly: true, sameSite: 'strict', secure } as const
  // With this prefix a browser accepts it from this host over TLS only, not from a neighbour's subdomain.
  if (secure) return { name: '__Host-modal_sandbox_session', options: { ...options, path: '/' } }
  return { name: 'modal_sandbox_session', options: { ...options, path: '/api' } }
}

/** Authentication: `Authorization: Bearer`, `x-api-key`, or the web UI's cookie. */
export default fp<AuthOptions>(async (fastify, { accounts, browserSessions, secure, trustedOrigins = [] }) => {
  fastify.decorate('accounts', accounts)
  fastify.decorate('browserSessions', browserSessions)
  fastify.decorate('sessionCookie', sessionCookie(secure))
  fastify.decorate('trustedOrigins', trustedOrigins)
  fastify.decorateRequest('account', null as unknown as Account)

  const countRequest = fastify.createRateLimit({
    max: (request) => request.account.limits.requestsPerMinute,
    keyGenerator: (request) => `account:${request.account.id}`,
    timeWindow: '1 minute'
  })

  fastify.decorate('identify', async (request) => {
    const credential = readCredential(request)
    if (credential !== undefined) return await accounts.authenticate(credential)
    const session = readSession(request)
    return session === undefined ? undefined : await browserSessions.accountOf(session)
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
  return typeof apiKey === 'string' && apiKey !== '' ? apiKey : undefined
}

/** The session of the request's cookie. @throws 403 when another site's page sent it. */
export function readSession (request: FastifyRequest): string | undefined {
  const session = request.cookies[request.server.sessionCookie.name]
  if (session !== undefined) refuseCrossSite(request)
  return session
}

/**
 * Browsers send the cookie with every request, so one that another site's page made must be refused; of those that only
 * read, a WebSocket's, as any page may read what comes over it.
 */
function refuseCrossSite ({ method, headers, server, ws }: FastifyRequest) {
  if ((method === 'GET' || method === 'HEAD') && !ws) return
  if (server.trustedOrigins.includes(headers.origin ?? '')) return
  const site = headers['sec-fetch-site']
  const sameOrigin = site !== undefined
    ? site === 'same-origin'
    : headers.origin === undefined || hostOf(headers.origin) === headers.host
  if (!sameOrigin) throw server.httpErrors.forbidden('Another site sent this request with your cookie.')
}

function hostOf (origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined
}
