import { createRequire } from 'node:module'
import { basename, dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import fastifyStatic from '@fastify/static'
import fp from 'fastify-plugin'

const { resolve } = createRequire(import.meta.url)

/** The page's libraries, each a single file of an installed package: no CDN and no build. */
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
    // File names carry no version: a browser revalidates each time, and mostly gets a 304.
    setHeaders: (response) => { response.header('cache-control', 'no-cache') }
  })
  for (const [name, file] of Object.entries(libraries)) {
    fastify.get(`/vendor/${name}`, async (_request, reply) => await reply.sendFile(basename(file), dirname(file)))
  }
}, { name: 'web', fastify: '5.x' })
