import fp from 'fastify-plugin'
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { ReapReason } from '../services/sandboxes/reaper.js'

declare module 'fastify' {
  interface FastifyInstance {
    metrics: { reaped (reason: ReapReason): void }
  }
}

/** `/metrics` for Prometheus: the process, responses by route, open streams. No account is named. */
export default fp(async (fastify) => {
  const registers = [new Registry()]
  const [register] = registers as [Registry]
  collectDefaultMetrics({ register })
  const responses = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Duration of responses; streams are excluded.',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.005, 0.02, 0.1, 0.5, 2, 10, 60],
    registers
  })
  const reaped = new Counter({
    name: 'modal_sandbox_reaped_total', help: 'Sandboxes terminated by the reaper.', labelNames: ['reason'], registers
  })
  const streams: Gauge = new Gauge({
    name: 'modal_sandbox_open_streams',
    help: 'Open Server-Sent Events responses.',
    registers,
    collect: () => { streams.set(fastify.openStreams()) }
  })

  fastify.decorate('metrics', { reaped: (reason) => reaped.inc({ reason }) })
  fastify.addHook('onResponse', async ({ method, routeOptions }, reply) => {
    if (String(reply.getHeader('content-type')).startsWith('text/event-stream')) return
    responses.observe({ method, route: routeOptions.url ?? 'none', status: reply.statusCode }, reply.elapsedTime / 1000)
  })
  fastify.get('/metrics', { logLevel: 'warn', schema: { hide: true } }, async (_request, reply) => {
    reply.type(register.contentType)
    return await register.metrics()
  })
}, { name: 'metrics', fastify: '5.x', dependencies: ['streams'] })
