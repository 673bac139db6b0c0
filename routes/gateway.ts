import { AsyncLocalStorage } from 'node:async_hooks'
import type { Readable, Transform } from 'node:stream'
import replyFrom from '@fastify/reply-from'
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import { Agent, type Dispatcher } from 'undici'
import { redact } from '../lib/redact.js'
import type { Exchange } from '../services/gateway/exchange.js'
import type { Gateway } from '../services/gateway/gateway.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** Set on requests for the model that were let in. */
    exchange: Exchange | null
    /** Called when the connection closes before the answer is there. */
    onLeave: () => void
  }
}

interface GatewayOptions { gateway: Gateway }

/** The longest request that the API takes. */
const bodyLimit = 32 * 1024 * 1024
const minute = 60_000
const longestError = 1024 * 1024

/**
 * The way from the sandboxes to the model. Not for accounts: what counts here is the token of a run. Answers pass as
 * they come, byte for byte; errors without what may repeat the key.
 */
const gatewayRoutes: FastifyPluginAsync<GatewayOptions> = async (fastify, { gateway }) => {
  // Runs are hundreds, and each may have several requests under way. An answer that is not streamed takes ten minutes.
  const agent = new Agent({
    connections: 2048,
    headersTimeout: 11 * minute,
    bodyTimeout: 11 * minute,
    connect: { timeout: 10_000 },
    keepAliveTimeout: 30_000
  })
  // The library would neither abort a request whose client has left, nor check certificates with an agent of its own.
  const signal = new AsyncLocalStorage<AbortSignal>()
  type Callback = (error: Error | null, data: Dispatcher.ResponseData) => void
  const request = (options: Dispatcher.RequestOptions, callback: Callback) => {
    agent.request({ ...options, signal: signal.getStore() ?? null }, callback)
  }
  await fastify.register(replyFrom, {
    undici: { request } as never, disableCache: true, disableRequestLogging: true, retryMethods: []
  })
  fastify.addHook('onClose', async () => { await agent.destroy() })

  fastify.decorateRequest('exchange', null)
  fastify.decorateRequest('onLeave')
  fastify.removeAllContentTypeParsers()
  fastify.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit }, (_request, body, done) => { done(null, body) })

  fastify.addHook('onRequest', async (request) => {
    const exchange = await gateway.admit(credentialOf(request), declaredLength(request))
    request.exchange = exchange
    Object.assign(request.ids, exchange.ids)
    request.onLeave = () => { exchange.abort() }
    request.socket.once('close', request.onLeave)
    if (request.socket.destroyed) exchange.abort()
  })
  fastify.addHook('onResponse', async ({ exchange, socket, onLeave }) => {
    if (exchange === null) return
    socket.removeListener('close', onLeave)
    exchange.finish()
  })

  fastify.setErrorHandler(async (error, request, reply) => await refuse(error, request, reply))
  fastify.setNotFoundHandler(async (request, reply) => await refuse({ statusCode: 404 }, request, reply))

  for (const { method, path } of gateway.calls) {
    fastify.route({
      method: method as 'GET',
      url: path,
      // Of the root there is none for HEAD of its own.
      exposeHeadRoute: false,
      handler: async (request, reply) => await pass(path, request, reply)
    })
  }

  async function pass (path: string, request: FastifyRequest, reply: FastifyReply) {
    const exchange = request.exchange!
    const { model } = request.params as { model?: string }
    const body = request.body as Buffer | undefined
    const { url } = await exchange.prepare(path, model, body)
    signal.run(exchange.signal, () => reply.from(url, {
      ...(body !== undefined && { body, contentType: request.headers['content-type'] ?? 'application/json' }),
      rewriteRequestHeaders: (_request, headers) => gateway.requestHeaders(headers) as never,
      rewriteHeaders: (headers) => gateway.responseHeaders(headers) as never,
      onError: (_reply, { error }) => { refuse(error, request, reply) },
      onResponse: (_request, _reply, answer) => { answerWith(exchange, reply, answer as never) }
    }))
    return reply
  }

  function answerWith (
    exchange: Exchange, reply: FastifyReply, { statusCode, stream }: { statusCode: number, stream: Readable }
  ) {
    const meter = exchange.meter(statusCode, String(reply.getHeader('content-type')))
    if (statusCode < 400) return reply.send(through(stream, meter))
    // It may repeat the request's headers.
    reply.removeHeader('content-length')
    textOf(stream).then(
      (body) => reply.send(redact(body, gateway.secrets)),
      (error: unknown) => { refuse(error, reply.request, reply) })
  }

  function refuse (error: unknown, request: FastifyRequest, reply: FastifyReply) {
    const refusal = gateway.refusal(error, request.ids)
    return reply.code(refusal.statusCode).headers(refusal.headers).type('application/json').send(JSON.stringify(refusal))
  }
}

/** What ends either ends the other; `pipeline` would take a tenth of a millisecond for its abort signal. */
function through (stream: Readable, meter: Transform): Transform {
  stream.once('error', (error) => { meter.destroy(error) })
  meter.once('close', () => { stream.destroy() })
  return stream.pipe(meter)
}

/** Errors are short; what is longer is cut. */
async function textOf (stream: Readable): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length <= longestError) chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

function credentialOf ({ headers }: FastifyRequest): string | undefined {
  const apiKey = headers['x-api-key']
  if (typeof apiKey === 'string') return apiKey
  const [scheme, token] = headers.authorization?.split(' ') ?? []
  return scheme?.toLowerCase() === 'bearer' ? token : undefined
}

/** Bytes of the body: known beforehand, so that they can be counted before they are read. */
function declaredLength ({ headers }: FastifyRequest): number {
  if (headers['transfer-encoding'] !== undefined) throw Object.assign(new Error('without content-length'), { statusCode: 411 })
  const length = Number(headers['content-length'] ?? 0)
  if (length > bodyLimit) throw Object.assign(new Error('too large'), { statusCode: 413 })
  return length
}

export default gatewayRoutes
