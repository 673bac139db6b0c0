import { createRequire } from 'node:module'
import { basename, dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import fastifyStatic from '@fastify/static'
import fp from 'fastify-plugin'

const { resolve } = createRequire(import.meta.url)

/** Libraries of the page, each one exact file of a package: nothing comes from anywhere else, and nothing is built. */
const libraries = {
  'marked.js': fileURLToPath(import.meta.resolve('marked')),
  'purify.js': fileURLToPath(import.meta.resolve('dompurify')),
  'highlight.js': resolve('@highlightjs/cdn-assets/es/highlight.min.js')
}

/** The web UI: plain files, no build (7.9). */
export default fp(async (fastify) => {
  await fastify.register(fastifyStatic, {
    root: fileURLToPath(new URL('../static', import.meta.url)),
    dotfiles: 'ignore',
    cacheControl: false,
    // The names have no version in them: a browser asks each time, and is told that nothing has changed.
    setHeaders: (response) => { response.header('cache-control', 'no-cache') }
  })
  for (const [name, file] of Object.entries(libraries)) {
    fastify.get(`/vendor/${name}`, async (_request, reply) => await reply.sendFile(basename(file), dirname(file)))
  }
}, { name: 'web', fastify: '5.x' })
