import fp from 'fastify-plugin'
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { ReapReason } from '../services/sandboxes/reaper.js'

declare module 'fastify' {
  interface FastifyInstance {
    metrics: { reaped (reason: ReapReason): void }
  }
}

/** `/metrics` for Prometheus: the process, answers by route, open streams. Nothing in it names an account. */
export default fp(async (fastify) => {
  const registers = [new Registry()]
  const [register] = registers as [Registry]
  collectDefaultMetrics({ register })
  const answers = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Time to the end of an answer; streams are not among them.',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.005, 0.02, 0.1, 0.5, 2, 10, 60],
    registers
  })
  const reaped = new Counter({
    name: 'modal_sandbox_reaped_total', help: 'Sandboxes that the reaper has ended.', labelNames: ['reason'], registers
  })
  const streams: Gauge = new Gauge({
    name: 'modal_sandbox_open_streams',
    help: 'Answers in Server-Sent Events that are open.',
    registers,
    collect: () => { streams.set(fastify.openStreams()) }
  })

  fastify.decorate('metrics', { reaped: (reason) => reaped.inc({ reason }) })
  fastify.addHook('onResponse', async ({ method, routeOptions }, reply) => {
    if (String(reply.getHeader('content-type')).startsWith('text/event-stream')) return
    answers.observe({ method, route: routeOptions.url ?? 'none', status: reply.statusCode }, reply.elapsedTime / 1000)
  })
  fastify.get('/metrics', { logLevel: 'warn', schema: { hide: true } }, async (_request, reply) => {
    reply.type(register.contentType)
    return await register.metrics()
  })
}, { name: 'metrics', fastify: '5.x', dependencies: ['streams'] })
