/** Random numbers from 0 to 1, the same ones for the same seed. */
export function seeded (seed: number): () => number {
  return () => {
    seed = (seed * 1_664_525 + 1_013_904_223) % 4_294_967_296
    return seed / 4_294_967_296
  }
}

export interface FuzzOptions {
  seed: number
  /** As `METHOD /path/:param`. */
  routes: string[]
  /** Bodies that are right, by route: changed in one place they get far. */
  bodies: Record<string, unknown>
  /** What may stand for a param: real ids, one's own and another's. */
  ids: string[]
  apiKey: string
  /** Requests as `METHOD path` that would do harm to the test itself. */
  avoid: RegExp
}

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE', 'QUERY', 'PROPFIND', 'get', 'FOO']
const texts = [
  '', ' ', '0', '-1', 'null', 'true', '..', '../..', '%2e%2e%2f', '%', '%zz', '%00', '%c0%ae', 'a\0b', '*', '?', '#', '//', '\\',
  "'", '"', '<script>alert(1)</script>', '{{7*7}}', '; sleep 9', '$(id)', 'ü', '日本', '👩‍🚀', '\ud800', '\u202e', '__proto__',
  'constructor', 'toString', 'hasOwnProperty', 'sb-', 'sb-01ARZ3NDEKTSV4RRFFQ69G5FAV', 'run_00000000000000000000', 'x'.repeat(150),
  'x'.repeat(250), 'x'.repeat(5000), '1e309', '9007199254740993', '/etc/passwd', '/workspace/../../etc/passwd', 'file:///etc/passwd',
  '\r\nx-injected: 1', '\n\ndata: forged\n\n'
]
const values: unknown[] = [
  null, true, false, 0, -0, -1, 1.5, 1e308, 2 ** 53, [], {}, [[]], [null], { a: 1 }, { toString: 1 }, ...texts
]
const headers: Record<string, string[]> = {
  accept: ['text/event-stream', 'application/json', '*/*', 'x', '', 'text/event-stream;q=0', 'application/json,text/event-stream'],
  'content-type': ['application/json', 'application/json; charset=utf-16', 'text/plain', 'multipart/form-data; boundary=x', 'x', '',
    'application/octet-stream', 'application/JSON', 'application/x-www-form-urlencoded', 'application/json;;;'],
  'content-encoding': ['gzip', 'br', 'x'],
  'idempotency-key': ['a', '', 'ü', 'x'.repeat(201)],
  'last-event-id': ['0', '-1', 'x', '9'.repeat(30), '1.5'],
  prefer: ['respond-async', 'x', ''],
  origin: ['null', 'http://evil.example', '://'],
  'sec-fetch-site': ['cross-site', 'same-origin', 'x'],
  cookie: ['modal_sandbox_session=x', ';;;', '=', 'a='.repeat(500), 'modal_sandbox_session=%'],
  authorization: ['Bearer x', 'Bearer', 'Basic eDp4', 'Bearer a.b.c', 'Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.', 'bearer  x', ''],
  'x-api-key': ['x', '', 'ü'],
  'x-forwarded-for': ['1.2.3.4', 'x'],
  'x-request-id': ['forged', '\t'],
  expect: ['100-continue', 'x'],
  upgrade: ['websocket', 'h2c'],
  range: ['bytes=0-1', 'bytes=x', 'bytes=99999-'],
  'if-none-match': ['*', 'x'],
  'if-modified-since': ['x', 'Thu, 01 Jan 2037 00:00:00 GMT'],
  'accept-version': ['1.0.0', 'x'],
  'access-control-request-method': ['DELETE'],
  'transfer-encoding': ['x', 'chunked, chunked'],
  'content-length': ['x', '-1', '0'],
  'x-padding': ['x'.repeat(9000), 'x'.repeat(17_000)]
}
/** Not HTTP, or barely. */
const malformed = [
  '\0\0\0\0', 'GET\r\n\r\n', 'GET /\r\n\r\n', 'GET / HTTP/9.9\r\n\r\n', 'GET / HTTP/1.1\r\n\r\n',
  'GET / HTTP/1.1\r\nhost\r\n\r\n',
  'GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n', 'GET / HTTP/1.1\r\nhost: x\r\n x: y\r\n\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  '\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03', 'GET http://other.example/ HTTP/1.1\r\nhost: x\r\n\r\n',
  'OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n',
  'POST /api/session HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n',
  'POST /api/session HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
  'GET /api/modal/sandbox/%zz HTTP/1.1\r\nhost: x\r\n\r\n', `GET /${'a'.repeat(20_000)} HTTP/1.1\r\nhost: x\r\n\r\n`,
  'GET /\xff\xfe HTTP/1.1\r\nhost: x\r\n\r\n', 'GET /api/modal/status HTTP/1.0\r\n\r\n', 'GET / HTTP/1.1\r\nhost: x\r\nx: \0\r\n\r\n',
  'GET / HTTP/1.1\r\nhost: x\r\n\r\nGARBAGE AFTERWARDS\r\n\r\n'
]

/** Requests of all kinds, nearly right or not at all; the same ones for the same seed. */
export function * fuzz ({ seed, routes, bodies, ids, apiKey, avoid }: FuzzOptions): Generator<string> {
  const random = seeded(seed)
  const chance = (share: number) => random() < share
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!

  const tree = (depth: number): unknown => {
    if (depth === 0 || chance(0.5)) return pick(values)
    if (chance(0.5)) return Array.from({ length: 3 }, () => tree(depth - 1))
    return Object.fromEntries(Array.from({ length: 3 }, () => [pick(texts), tree(depth - 1)]))
  }
  /** A right body that is wrong in one place. */
  const changed = (value: unknown): unknown => {
    if (typeof value !== 'object' || value === null || chance(0.3)) return chance(0.7) ? pick(values) : tree(2)
    const copy = structuredClone(value) as Record<string, unknown>
    const key = pick(Object.keys(copy))
    if (key === undefined || chance(0.2)) return Object.assign(copy, { [pick(texts)]: tree(1) })
    if (chance(0.2)) delete copy[key]
    else copy[key] = changed(copy[key])
    return copy
  }
  const body = (route: string): string => {
    const kind = random()
    if (kind < 0.65 && bodies[route] !== undefined) return JSON.stringify(changed(bodies[route]))
    if (kind < 0.75) return JSON.stringify(tree(4))
    if (kind < 0.8) return JSON.stringify(bodies[route] ?? {}).slice(0, -2)
    if (kind < 0.85) return `{"${pick(['__proto__', 'constructor', 'a'])}":{"prototype":{"polluted":true},"polluted":true}}`
    if (kind < 0.9) return '['.repeat(20_000)
    if (kind < 0.95) return Array.from({ length: 50 }, () => String.fromCharCode(random() * 256)).join('')
    return ''
  }
  const url = (pattern: string): string => {
    const path = pattern.replace(/:\w+|\*/g, () => {
      const part = chance(0.6) ? pick(ids) : pick(texts)
      return chance(0.5) ? encode(part) : part
    })
    if (chance(0.7)) return path
    const name = pick(['limit', 'cursor', 'tag', 'after', 'path', 'since', 'token', pick(texts)])
    return `${path}?${name}=${chance(0.5) ? encode(pick(texts)) : pick(texts)}`
  }

  while (true) {
    if (chance(0.04)) {
      yield pick(malformed)
      continue
    }
    const route = pick(routes)
    const [usual, pattern] = route.split(' ') as [string, string]
    const method = chance(0.85) ? usual : pick(methods)
    const path = url(pattern)
    if (avoid.test(`${method} ${decodeURIComponentSafely(path)}`)) continue
    const sent = ['connection: close']
    if (!chance(0.02)) sent.push('host: localhost')
    if (chance(0.8)) sent.push(`x-api-key: ${apiKey}`)
    const content = method !== 'GET' && chance(0.9) ? body(route) : ''
    if (content !== '' && chance(0.9)) sent.push('content-type: application/json')
    for (const name of Object.keys(headers)) if (chance(0.03)) sent.push(`${name}: ${pick(headers[name]!)}`)
    const bytes = Buffer.from(content).toString('latin1')
    const chunked = chance(0.1)
    if (chunked) sent.push('transfer-encoding: chunked')
    else if (bytes !== '') sent.push(`content-length: ${bytes.length}`)
    const end = chunked ? (bytes === '' ? '' : `${bytes.length.toString(16)}\r\n${bytes}\r\n`) + '0\r\n\r\n' : bytes
    yield `${method} ${chance(0.8) ? path.replaceAll(/\s/g, '%20') : path} HTTP/1.1\r\n${sent.join('\r\n')}\r\n\r\n${end}`
  }
}

/** Half characters can't be encoded: they are replaced. */
function encode (text: string): string {
  return encodeURIComponent(Buffer.from(text).toString())
}

function decodeURIComponentSafely (text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
