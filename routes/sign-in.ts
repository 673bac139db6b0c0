import { Type } from '@sinclair/typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { readSession } from '../plugins/auth.js'
import { errorAnswers, strict } from '../schemas/common.js'
import type { SignInLink } from '../services/accounts/sign-in-link.js'
import { forEverybody } from './errors.js'

const Credential = Type.Object({
  credential: Type.String({
    minLength: 1, maxLength: 8192, description: 'An API key, a JWT, or the code of the sign-in link.'
  })
}, strict)
const SignedIn = Type.Object({ account: Type.String() })

interface SignInOptions {
  /** Of local mode. */
  link?: SignInLink
}

/** Signs a browser in and out: it gets a session in a cookie, which ends on the server. */
const signIn: FastifyPluginAsyncTypebox<SignInOptions> = async (fastify, { link }) => {
  const { accounts, browserSessions, sessionCookie: { name, options } } = fastify

  fastify.post('/api/session', {
    schema: {
      operationId: 'signIn',
      summary: 'Sign a browser in',
      tags: ['service'],
      body: Credential,
      errors: [...forEverybody, 'UNAUTHENTICATED'],
      response: { 200: SignedIn, ...errorAnswers }
    }
  }, async (request, reply) => {
    const credential = link?.redeem(request.body.credential) ?? request.body.credential
    if (/[^\x21-\x7e]/.test(credential)) throw fastify.httpErrors.unauthorized('The API key is not valid.')
    const identity = await accounts.identify(credential)
    request.log.info({ accountId: identity.account.id }, 'signed in')
    reply.setCookie(name, await browserSessions.start(identity), options)
    return { account: identity.account.id }
  })

  fastify.delete('/api/session', {
    schema: {
      operationId: 'signOut',
      summary: 'Sign a browser out',
      tags: ['service'],
      errors: [...forEverybody, 'FORBIDDEN'],
      response: { 200: Type.Object({}), ...errorAnswers }
    }
  }, async (request, reply) => {
    const session = readSession(request)
    // The cookie stays when this fails, so that it can be repeated.
    if (session !== undefined) await browserSessions.end(session)
    reply.clearCookie(name, options)
    return {}
  })
}

export default signIn
