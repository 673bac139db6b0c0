import { readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { negotiate } from '@fastify/accept-negotiator'
import type { FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { AppError } from '../errors.js'
import { Page, type Served } from '../services/page/page.js'
import { contentSecurityPolicy } from './security.js'

const { resolve } = createRequire(import.meta.url)

/** The page's libraries, each a single file of an installed package: no CDN and no build. */
const libraries: Record<string, string> = {
  'vendor/marked.js': fileURLToPath(import.meta.resolve('marked')),
  'vendor/purify.js': fileURLToPath(import.meta.resolve('dompurify')),
  'vendor/highlight.js': resolve('@highlightjs/cdn-assets/es/highlight.min.js'),
  'vendor/katex.js': resolve('katex/dist/katex.min.js'),
  'vendor/katex.css': resolve('katex/dist/katex.min.css'),
  'vendor/mermaid.js': resolve('@mermaid-js/tiny'),
  'vendor/xterm.js': resolve('@xterm/xterm/lib/xterm.mjs'),
  'vendor/xterm.css': resolve('@xterm/xterm/css/xterm.css'),
  'vendor/xterm-fit.js': resolve('@xterm/addon-fit/lib/addon-fit.mjs')
}
/** The style sheet of the formulas names them beside itself, and each browser loads the first kind that it knows. */
const fonts = dirname(resolve('katex/dist/fonts/KaTeX_Main-Regular.woff2'))
for (const name of readdirSync(fonts).filter((name) => name.endsWith('.woff2'))) {
  libraries[`vendor/fonts/${name}`] = join(fonts, name)
}

/** A frame without an origin, in which a library may style what it draws, and reaches nothing. */
const frameHelmet = {
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'none'"],
      scriptSrc: ["'self'"],
      styleSrc: ["'unsafe-inline'"],
      frameAncestors: ["'self'"],
      sandbox: ['allow-scripts']
    }
  },
  originAgentCluster: false
}

const { directives, ...policy } = contentSecurityPolicy

/** The terminal's document: it is framed by the page, and xterm.js makes inline styles. */
const terminalHelmet = {
  contentSecurityPolicy: {
    ...policy,
    directives: {
      ...directives,
      frameAncestors: ["'self'"],
      formAction: ["'none'"],
      styleSrc: ["'self'", "'unsafe-inline'"]
    }
  }
}

/** The web UI: plain files, no build (7.9). */
export default fp(async (fastify) => {
  const page = await Page.read({ root: fileURLToPath(new URL('../static', import.meta.url)), libraries })
  const scriptSrc = ["'self'", page.importMapSource]

  const serve = async (request: FastifyRequest, reply: FastifyReply) => {
    const served = page.find(request.url.replace(/[?#].*$/s, ''), languageOf(request, page.languages))
    if (served === undefined) throw new AppError('NOT_FOUND')
    return await send(served, request, reply)
  }
  // The page alone may have an import map, and only this one.
  const helmet = { contentSecurityPolicy: { ...policy, directives: { ...directives, scriptSrc } } }
  for (const url of ['/', '/index.html']) fastify.get(url, { schema: { hide: true }, helmet }, serve)
  fastify.get('/diagram.html', { schema: { hide: true }, helmet: frameHelmet }, serve)
  fastify.get('/terminal.html', { schema: { hide: true }, helmet: terminalHelmet }, serve)
  fastify.get('/*', { schema: { hide: true } }, serve)
}, { name: 'web', fastify: '5.x', dependencies: ['security'] })

/** One of these that the browser is set to, whatever the country. */
function languageOf ({ headers }: FastifyRequest, languages: string[]): string | undefined {
  const wanted = (headers['accept-language'] ?? '').toLowerCase().replaceAll(/-[\w-]+/g, '')
  return negotiate(wanted, languages) ?? undefined
}

async function send ({ asset, immutable }: Served, request: FastifyRequest, reply: FastifyReply) {
  const etag = `W/"${asset.hash}"`
  reply.headers({
    'cache-control': immutable ? 'public, max-age=31536000, immutable' : 'no-cache',
    // The frame has no origin, and the files are public.
    'cross-origin-resource-policy': 'cross-origin',
    etag,
    // The page comes with the words of one language.
    vary: asset.path === 'index.html' ? 'accept-encoding, accept-language' : 'accept-encoding'
  })
  if (request.headers['if-none-match']?.includes(etag)) return await reply.code(304).send()
  const accepted = request.headers['accept-encoding'] ?? 'identity'
  const encoding = negotiate(accepted, [...asset.encodings]) ?? 'identity'
  if (encoding !== 'identity') reply.header('content-encoding', encoding)
  return await reply.type(asset.type).send(await asset.encoded(encoding))
}
