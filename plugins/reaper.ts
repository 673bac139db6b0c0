import fp from 'fastify-plugin'
import type { Config } from '../config.js'
import { chain } from '../errors.js'
import { Reaper } from '../services/sandboxes/reaper.js'

export interface ReaperPluginOptions { config: Config }

/** Sweeps up sandboxes that nobody needs, again and again. */
export default fp<ReaperPluginOptions>(async (fastify, { config }) => {
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
      (error: unknown) => log.warn({ chain: chain(error) }, 'sandboxes could not be swept'))
    sweeping = false
  }, config.reaper.intervalMs).unref()

  // One that is under way may be left alone: the next replica's does the same.
  fastify.addHook('preClose', async () => { clearInterval(timer) })
}, { name: 'reaper', fastify: '5.x', dependencies: ['modal', 'auth', 'metrics'] })
