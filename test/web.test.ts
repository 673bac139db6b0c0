import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import sensible from '@fastify/sensible'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import errors from '../plugins/errors.js'
import context from '../plugins/context.js'
import security from '../plugins/security.js'
import web from '../plugins/web.js'

async function webUi (t: Test) {
  const app = Fastify()
  for (const plugin of [sensible, context, errors, security, web]) await app.register(plugin)
  t.teardown(() => app.close())
  const get = async (url: string, headers: Record<string, string> = {}) => await app.inject({ url, headers })
  const page = await get('/')
  /** The address of a file with its hash in it. */
  const hashed = (path: string) => {
    const [name, extension] = path.split(/\.(?=\w+$)/)
    return new RegExp(`"/?(${name}\\.\\w{10}\\.${extension})"`).exec(page.body)?.[1]
  }
  return { app, get, page, hashed }
}

t.test('What a browser may keep it is told: a file with its hash for good, the page not at all (7.9)', async (t) => {
  const { get, page, hashed } = await webUi(t)
  t.match(page, { statusCode: 200, headers: { 'cache-control': 'no-cache', 'content-type': 'text/html; charset=utf-8' } })
  for (const path of ['app.js', 'vendor/marked.js', 'styles.css', 'favicon.svg']) {
    const answer = await get(`/${hashed(path)}`)
    t.match(answer, { statusCode: 200, headers: { 'cache-control': 'public, max-age=31536000, immutable' } }, path)
  }
  t.match(await get('/app.0123456789.js'), { statusCode: 200, headers: { 'cache-control': 'no-cache' } }, 'of another version')
  t.match(await get('/app.js'), { statusCode: 200, headers: { 'cache-control': 'no-cache', 'content-type': 'text/javascript; charset=utf-8' } })
  for (const url of ['/', '/app.js']) {
    const { headers: { etag } } = await get(url)
    const again = await get(url, { 'if-none-match': String(etag) })
    t.match(again, { statusCode: 304, body: '', headers: { etag } }, `${url} has not changed`)
    t.equal((await get(url, { 'if-none-match': 'W/"older"' })).statusCode, 200)
  }
})

t.test('Files are compressed as the browser can read them, and fonts are not', async (t) => {
  const { get, hashed } = await webUi(t)
  const plain = (await get('/app.js')).body
  const url = `/${hashed('app.js')}`
  const forms: [string, string | undefined, (data: Buffer) => Buffer][] = [
    ['gzip, deflate, br', 'br', brotliDecompressSync], ['gzip', 'gzip', gunzipSync], ['br;q=0, gzip', 'gzip', gunzipSync],
    ['identity', undefined, (data) => data], ['nonsense', undefined, (data) => data]
  ]
  for (const [accepted, encoding, decode] of forms) {
    const answer = await get(url, { 'accept-encoding': accepted })
    t.equal(answer.headers['content-encoding'], encoding, accepted)
    t.equal(decode(answer.rawPayload).toString(), plain, accepted)
    t.equal(answer.headers.vary, 'accept-encoding')
  }
  const font = await get('/vendor/fonts/KaTeX_Main-Regular.woff2', { 'accept-encoding': 'br' })
  t.match(font, { statusCode: 200, headers: { 'content-type': 'font/woff2', 'content-encoding': undefined } })
})

t.test('The words come in the language that the browser is set to, and caches know it', async (t) => {
  const { get } = await webUi(t)
  const wordsFor = async (accepted?: string) => {
    const { body, headers } = await get('/', accepted === undefined ? {} : { 'accept-language': accepted })
    t.equal(headers.vary, 'accept-encoding, accept-language')
    return /"modulepreload" href="words\/(\w+)\.\w{10}\.js"/.exec(body)![1]
  }
  t.equal(await wordsFor('de-AT,de;q=0.9,en;q=0.8'), 'de')
  t.equal(await wordsFor('de-CH'), 'de')
  t.equal(await wordsFor('fr-FR, de;q=0.3, en;q=0.5'), 'en')
  for (const accepted of [undefined, '', '*', 'fr', 'en-GB,en', 'nonsense;;q=,']) t.equal(await wordsFor(accepted), 'en', accepted ?? 'none')
})

t.test('The page may run its own files and its import map, and no other script or style', async (t) => {
  const { get, page } = await webUi(t)
  const policy = String(page.headers['content-security-policy'])
  t.match(policy, /^default-src 'self';.*script-src 'self' 'sha256-[\w+/=]{44}'(;|$)/)
  t.notMatch(policy, /unsafe|https?:|\*/)
  t.match((await get('/app.js')).headers['content-security-policy'], /^default-src 'self';(?!.*script-src)/)
})

t.test('The frame for diagrams has no origin and reaches nothing, and only the page may embed it', async (t) => {
  const { get } = await webUi(t)
  const { headers } = await get('/diagram.html')
  t.equal(headers['content-security-policy'],
    "default-src 'none';script-src 'self';style-src 'unsafe-inline';frame-ancestors 'self';sandbox allow-scripts")
})

t.test('Nothing beside the page is served', async (t) => {
  const { get, app } = await webUi(t)
  for (const url of ['/package.json', '/../package.json', '/%2e%2e/package.json', '/static/app.js', '/nothing.0123456789.js', '/lib', '/lib/']) {
    t.match((await get(url)).json(), { statusCode: 404, code: 'NOT_FOUND' }, url)
  }
  t.equal((await app.inject({ method: 'POST', url: '/app.js' })).statusCode, 404)
  t.match(await app.inject({ method: 'HEAD', url: '/app.js' }), { statusCode: 200, body: '' })
  t.equal((await get('/?x#y')).statusCode, 200)
})
