import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import fp from 'fastify-plugin'
import type { ConnectionError, FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { AppError, type ErrorCode } from '../errors.js'
import { randomId } from '../lib/ids.js'
import { declaredErrors } from './declared-errors.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** Logs an error once, with the ids of the request, and returns its body for the client. Streams use it, too. */
    report (error: unknown): ErrorBody
  }
  interface FastifyInstance {
    /** What was answered although the API's description does not say so: `METHOD /path CODE`. */
    undeclaredErrors: Set<string>
  }
}

/** The body of every error response and of every `error` event. */
export interface ErrorBody {
  statusCode: number
  error: string
  code: ErrorCode
  message: string
  hint: string
  requestId: string
  field?: string
  step?: string
}

/** Turns errors into responses: known ones by the table, all others are masked (10.2, 10.6, 10.7). */
export default fp(async (fastify) => {
  const undeclared = new Set<string>()
  fastify.decorate('undeclaredErrors', undeclared)
  fastify.decorateRequest('report', function (this: FastifyRequest, error: unknown) {
    const appError = toAppError(error)
    log(this, appError)
    const { method, url, schema } = this.routeOptions
    if (schema?.operationId !== undefined && !declaredErrors({ method, schema }).includes(appError.code)) {
      undeclared.add(`${method} ${url} ${appError.code}`)
      this.log.warn({ code: appError.code, route: url }, 'error that the API\'s description does not have')
    }
    return toBody(appError, this.id)
  })

  fastify.setErrorHandler(async (error, request, reply) => {
    const appError = toAppError(error, request.routeOptions.bodyLimit)
    return reply.code(appError.statusCode).headers(appError.headers).send(request.report(appError))
  })

  fastify.setNotFoundHandler(async () => { throw new AppError('NOT_FOUND') })
}, { name: 'errors', fastify: '5.x' })

/** For Fastify's option `frameworkErrors`: a path that cannot be parsed reaches no route, hook or error handler. */
export function handleFrameworkError (error: FastifyError, request: FastifyRequest, reply: FastifyReply) {
  const appError = new AppError('BAD_REQUEST', { message: 'The path is not valid.' })
  // Not as `err`: its message repeats the path with its query.
  request.log.info({ code: appError.code, reason: error.code }, 'request refused')
  reply.code(400).header('x-request-id', request.id).send(toBody(appError, request.id))
}

const clientErrorCodes: Record<string, ErrorCode> = {
  ERR_HTTP_REQUEST_TIMEOUT: 'REQUEST_TIMEOUT', HPE_HEADER_OVERFLOW: 'HEADERS_TOO_LARGE'
}

/** How long, and how much, a client may still send after its answer, in milliseconds and bytes. */
const lingering = { ms: 2000, bytes: 16 * 1024 * 1024 }

/** For Fastify's option `clientErrorHandler`: input that is not a valid HTTP request, or not a complete one in time. */
export function handleClientError (this: FastifyInstance, error: ConnectionError, socket: Socket) {
  // Called again for what the client sends after its answer, which is not read.
  if (socket.writableEnded) return
  if (error.code === 'ECONNRESET' || !socket.writable || isAnswering(socket)) return socket.destroy()
  const code = clientErrorCodes[error.code]
  const appError = code === undefined
    ? new AppError('BAD_REQUEST', { message: 'This is not a valid HTTP request.', hint: 'Check the client.' })
    : new AppError(code)
  const id = randomId('req')
  const json = JSON.stringify(toBody(appError, id))
  // Not as `err`: it holds the packet, and with it any credential in the headers.
  this.log.info({ reqId: id, code: appError.code, reason: error.code }, 'connection refused')
  endInPeace(socket, [
    `HTTP/1.1 ${appError.statusCode} ${STATUS_CODES[appError.statusCode]}`, 'connection: close',
    `x-request-id: ${id}`, 'content-type: application/json; charset=utf-8',
    `content-length: ${Buffer.byteLength(json)}`, '', json
  ].join('\r\n'))
}

/**
 * An earlier request of the connection is being answered: its client would take this answer for a part of that one.
 * The handler that Node.js has by default asks the same field.
 */
function isAnswering ({ _httpMessage: answer }: Socket & { _httpMessage?: { headersSent: boolean } | null }): boolean {
  return answer?.headersSent === true
}

/** A socket closed with unread input resets the connection, and the client loses what it has not read of the answer. */
function endInPeace (socket: Socket, answer: string) {
  const limit = socket.bytesRead + lingering.bytes
  const timer = setTimeout(() => socket.destroy(), lingering.ms).unref()
  const watch = setInterval(() => { if (socket.bytesRead > limit) socket.destroy() }, 50).unref()
  socket.once('close', () => {
    clearTimeout(timer)
    clearInterval(watch)
  })
  socket.end(answer)
  socket.resume()
}

/** What is told of a field of the request begins with it. */
const fieldInFront = /^(body|querystring|query|params|headers)(\.[\w-]+)+/

/** What a client is told. */
export function toBody (error: AppError, requestId: string): ErrorBody {
  const field = error.code === 'BAD_REQUEST' ? fieldInFront.exec(error.message)?.[0] : undefined
  return {
    statusCode: error.statusCode,
    error: STATUS_CODES[error.statusCode] ?? 'Error',
    code: error.code,
    message: error.message,
    hint: error.hint,
    requestId,
    ...(field !== undefined && { field }),
    ...(error.step !== undefined && { step: error.step }),
    ...error.details
  }
}

function log (request: FastifyRequest, error: AppError) {
  const fields = { ...request.ids, code: error.code, statusCode: error.statusCode, step: error.step, err: error }
  if (error.statusCode >= 500) request.log.error(fields, 'request failed')
  else request.log.info(fields, 'request refused')
}

const codeOfStatus: Record<number, ErrorCode> = {
  401: 'UNAUTHENTICATED',
  403: 'FORBIDDEN',
  404: 'NOT_FOUND',
  413: 'PAYLOAD_TOO_LARGE',
  415: 'UNSUPPORTED_MEDIA_TYPE',
  429: 'RATE_LIMITED',
  503: 'SHUTTING_DOWN'
}

/** `field` is of `plugins/validation.ts`. */
type Refusal = FastifyError & { expose?: boolean, field?: string }

/**
 * Errors of Fastify and of `fastify.httpErrors` keep their meaning; any other error becomes INTERNAL, with the
 * original as the cause for the log.
 * @param bodyLimit the route's, in bytes.
 */
function toAppError (error: unknown, bodyLimit?: number): AppError {
  if (error instanceof AppError) return error
  const { statusCode = 500, validation, field, message, expose } = error as Refusal
  if (validation !== undefined) return new AppError('BAD_REQUEST', { message, cause: error, details: { field } })
  if (statusCode === 413 && bodyLimit !== undefined) {
    const text = `The body of this request may have at most ${bodyLimit} bytes.`
    return new AppError('PAYLOAD_TOO_LARGE', { message: text, details: { limit: bodyLimit }, cause: error })
  }
  const code = codeOfStatus[statusCode]
  // Messages of httpErrors are written for clients (`expose`); those of Fastify are about its internals.
  if (code !== undefined) return new AppError(code, { cause: error, ...(expose && { message }) })
  if (statusCode >= 400 && statusCode < 500) return new AppError('BAD_REQUEST', { message, cause: error })
  return new AppError('INTERNAL', { cause: error })
}
