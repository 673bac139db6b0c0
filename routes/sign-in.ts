import { Type } from '@sinclair/typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { sessionCookie } from '../plugins/auth.js'
import { ErrorAnswer, strict } from '../schemas/common.js'

const Credential = Type.Object({
  credential: Type.String({
    minLength: 1, maxLength: 8192, description: 'An API key, a JWT, or the code of the sign-in link.'
  })
}, strict)
const SignedIn = Type.Object({ account: Type.String() })

interface SignInOptions {
  /** Whether browsers may send the cookie over TLS only. */
  secure: boolean
  /** Local mode: the code in the sign-in link that the log prints, and the API key it stands for. */
  link?: { code: string, apiKey: string }
}

/** Signs a browser in and out: the credential is kept in a cookie that scripts cannot read. */
const signIn: FastifyPluginAsyncTypebox<SignInOptions> = async (fastify, { secure, link }) => {
  const cookie = { path: '/api', httpOnly: true, sameSite: 'strict', secure } as const

  fastify.post('/api/session', {
    schema: { body: Credential, response: { 200: SignedIn, '4xx': ErrorAnswer } }
  }, async (request, reply) => {
    const credential = request.body.credential === link?.code ? link.apiKey : request.body.credential
    if (/[^\x21-\x7e]/.test(credential)) throw fastify.httpErrors.unauthorized('The API key is not valid.')
    const account = await fastify.accounts.authenticate(credential)
    request.log.info({ accountId: account.id }, 'signed in')
    reply.setCookie(sessionCookie, credential, cookie)
    return { account: account.id }
  })

  fastify.delete('/api/session', { schema: { response: { 200: Type.Object({}) } } }, async (_request, reply) => {
    reply.clearCookie(sessionCookie, cookie)
    return {}
  })
}

export default signIn
