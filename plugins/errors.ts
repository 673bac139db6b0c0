import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import fp from 'fastify-plugin'
import type { ConnectionError, FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { AppError, chain, type ErrorCode } from '../errors.js'
import { randomId } from '../lib/ids.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** Logs an error once, with its ids, and returns what the client may read of it. For streams, too. */
    report (error: unknown): ErrorBody
  }
}

/** The body of every error answer and of every `error` event. */
export interface ErrorBody {
  statusCode: number
  error: string
  code: ErrorCode
  message: string
  hint: string
  requestId: string
  step?: string
}

/** The one place where errors become answers: known ones by the table, unknown ones masked (10.2, 10.6, 10.7). */
export default fp(async (fastify) => {
  fastify.decorateRequest('report', function (this: FastifyRequest, error: unknown) {
    const known = toAppError(error)
    log(this, known)
    return body(known, this.id)
  })

  fastify.setErrorHandler(async (error, request, reply) => {
    const known = toAppError(error, request.routeOptions.bodyLimit)
    return reply.code(known.statusCode).headers(known.headers).send(request.report(known))
  })

  fastify.setNotFoundHandler(async () => { throw new AppError('NOT_FOUND') })
}, { name: 'errors', fastify: '5.x' })

/** For Fastify's option `frameworkErrors`: a path that can not be read meets no route, hook or error handler. */
export function answerBadPath (error: FastifyError, request: FastifyRequest, reply: FastifyReply) {
  const known = new AppError('BAD_REQUEST', { message: 'The path is not valid.', cause: error })
  request.log.info({ code: known.code, reason: error.code }, 'request refused')
  reply.code(400).header('x-request-id', request.id).send(body(known, request.id))
}

const broken: Record<string, ErrorCode> = {
  ERR_HTTP_REQUEST_TIMEOUT: 'REQUEST_TIMEOUT', HPE_HEADER_OVERFLOW: 'HEADERS_TOO_LARGE'
}

/** For Fastify's option `clientErrorHandler`: what is no request at all, or has not become one in time. */
export function answerBroken (this: FastifyInstance, error: ConnectionError, socket: Socket) {
  if (error.code !== 'ECONNRESET' && socket.writable) {
    const code = broken[error.code]
    const known = code === undefined ? new AppError('BAD_REQUEST', { message: 'This is not HTTP.' }) : new AppError(code)
    const id = randomId('req')
    const json = JSON.stringify(body(known, id))
    this.log.info({ reqId: id, code: known.code, reason: error.code }, 'connection refused')
    socket.write([
      `HTTP/1.1 ${known.statusCode} ${STATUS_CODES[known.statusCode]}`, 'connection: close', `x-request-id: ${id}`,
      'content-type: application/json; charset=utf-8', `content-length: ${Buffer.byteLength(json)}`, '', json
    ].join('\r\n'))
  }
  socket.destroy()
}

function body (error: AppError, requestId: string): ErrorBody {
  return {
    statusCode: error.statusCode,
    error: STATUS_CODES[error.statusCode] ?? 'Error',
    code: error.code,
    message: error.message,
    hint: error.hint,
    requestId,
    ...(error.step !== undefined && { step: error.step }),
    ...error.details
  }
}

function log (request: FastifyRequest, error: AppError) {
  const ids = {
    ...request.ids,
    code: error.code,
    statusCode: error.statusCode,
    step: error.step,
    chain: chain(error)
  }
  if (error.statusCode >= 500) request.log.error({ ...ids, err: error }, 'request failed')
  else request.log.info(ids, 'request refused')
}

/**
 * Fastify's own errors keep their meaning; whatever else is thrown becomes INTERNAL, its cause kept for the log.
 * @param bodyLimit the route's, in bytes.
 */
function toAppError (error: unknown, bodyLimit?: number): AppError {
  if (error instanceof AppError) return error
  const { statusCode = 500, validation, message } = error as FastifyError
  if (validation !== undefined) return new AppError('BAD_REQUEST', { message, cause: error })
  if (statusCode === 413 && bodyLimit !== undefined) {
    const text = `The body of this request may have ${bodyLimit} bytes.`
    return new AppError('PAYLOAD_TOO_LARGE', { message: text, details: { limit: bodyLimit }, cause: error })
  }
  const codes: Record<number, ErrorCode> = {
    401: 'UNAUTHENTICATED',
    403: 'FORBIDDEN',
    404: 'NOT_FOUND',
    413: 'PAYLOAD_TOO_LARGE',
    415: 'UNSUPPORTED_MEDIA_TYPE',
    429: 'RATE_LIMITED',
    503: 'SHUTTING_DOWN'
  }
  if (codes[statusCode]) return new AppError(codes[statusCode], { cause: error })
  if (statusCode >= 400 && statusCode < 500) return new AppError('BAD_REQUEST', { message, cause: error })
  return new AppError('INTERNAL', { cause: error })
}
