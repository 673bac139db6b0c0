import { fileURLToPath } from 'node:url'
import fastifyStatic from '@fastify/static'
import fp from 'fastify-plugin'

/** The web UI: plain files, no build (7.9). */
export default fp(async (fastify) => {
  await fastify.register(fastifyStatic, {
    root: fileURLToPath(new URL('../static', import.meta.url)),
    dotfiles: 'ignore',
    cacheControl: false,
    setHeaders: (response) => { response.header('cache-control', 'no-cache') }
  })
}, { name: 'web', fastify: '5.x' })
