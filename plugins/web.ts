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
  'xterm.js': resolve('@xterm/xterm/lib/xterm.mjs'),
  'xterm.css': resolve('@xterm/xterm/css/xterm.css'),
  'xterm-fit.js': resolve('@xterm/addon-fit/lib/addon-fit.mjs'),
  'highlight.js': resolve('@highlightjs/cdn-assets/es/highlight.min.js')
}

/** The terminal's document: it is framed by the page, and xterm.js makes inline styles. */
const framePolicy = [
  "default-src 'self'", "base-uri 'none'", "frame-ancestors 'self'", "form-action 'none'", "object-src 'none'",
  "style-src 'self' 'unsafe-inline'", "img-src 'self' data:"
].join(';')

/** The web UI: plain files, no build (7.9). */
export default fp(async (fastify) => {
  await fastify.register(fastifyStatic, {
    root: fileURLToPath(new URL('../static', import.meta.url)),
    dotfiles: 'ignore',
    cacheControl: false,
    // File names carry no version: a browser revalidates each time, and mostly gets a 304.
    setHeaders: (response, path) => {
      response.header('cache-control', 'no-cache')
      if (basename(path) === 'terminal.html') response.header('content-security-policy', framePolicy)
    }
  })
  for (const [name, file] of Object.entries(libraries)) {
    fastify.get(`/vendor/${name}`, { schema: { hide: true } }, async (_request, reply) => await reply.sendFile(basename(file), dirname(file)))
  }
}, { name: 'web', fastify: '5.x' })
