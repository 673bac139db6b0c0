import fp from 'fastify-plugin'
import type { Config } from '../config.js'
import { Reaper } from '../services/sandboxes/reaper.js'

interface ReaperOptions { config: Config }

/** Runs the reaper at an interval. */
export default fp<ReaperOptions>(async (fastify, { config }) => {
  const { accounts, log } = fastify
  const reaper = new Reaper({
    client: fastify.modal.client,
    log,
    deployment: config.deployment,
    mayOwn: (owner) => accounts.mayOwn(owner)
  })
  let sweeping = false

  const timer = setInterval(async () => {
    if (sweeping) return
    sweeping = true
    await reaper.sweep().then(
      (reaped) => reaped.forEach(({ reason }) => fastify.metrics.reaped(reason)),
      (err: unknown) => log.warn({ err }, 'reaper sweep failed'))
    sweeping = false
  }, config.reaper.intervalMs).unref()

  // A sweep in progress need not be waited for: the next one, by any replica, does the same work.
  fastify.addHook('preClose', async () => { clearInterval(timer) })
}, { name: 'reaper', fastify: '5.x', dependencies: ['modal', 'auth', 'metrics'] })
