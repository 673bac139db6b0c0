import { Type } from '@sinclair/typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { AppError } from '../errors.js'
import { sessionCookie } from '../plugins/auth.js'
import { ErrorAnswer, strict } from '../schemas/common.js'

const SignIn = Type.Object({
  credential: Type.String({ minLength: 1, maxLength: 8192, description: 'API key, JWT, or the code of the start-up link.' })
}, strict)
const SignedIn = Type.Object({ account: Type.String() })

export interface SessionOptions {
  /** Whether the cookie is for TLS only. */
  secure: boolean
  /** Local mode: the code in the start-up link, and the key it stands for. */
  link?: { code: string, apiKey: string }
}

/** Signing in and out of the web UI: the credential moves into a cookie that scripts can not read. */
const session: FastifyPluginAsyncTypebox<SessionOptions> = async (fastify, { secure, link }) => {
  const cookie = { path: '/api', httpOnly: true, sameSite: 'strict', secure } as const

  fastify.post('/api/session', {
    schema: { body: SignIn, response: { 200: SignedIn, '4xx': ErrorAnswer } }
  }, async (request, reply) => {
    const credential = request.body.credential === link?.code ? link.apiKey : request.body.credential
    if (/[^\x21-\x7e]/.test(credential)) throw new AppError('UNAUTHENTICATED', { message: 'The API key is not valid.' })
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

export default session
