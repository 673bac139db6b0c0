import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { Agent, createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * What happens to a request on its way. `at` is the share of the body, from 0 to 1, after which it does.
 * `refused`: answered in S3's place, which never hears of it. `lost`: carried out, but the answer is never seen.
 * `reset-request`, `reset-response`: the connection breaks. `truncated`: a success whose body ends early, without
 * saying so. `flipped`: one bit of the body is another. `stalled`: nothing comes for `ms`, then the connection breaks.
 * `slow`: the first byte takes `ms`. `pretended`: answered as a success in S3's place, which never hears of it, with
 * the ETag that the body would have, or another one. `misnamed`: carried out, and answered with another ETag.
 */
export type Fault =
  | { kind: 'refused', status: number, code: string }
  | { kind: 'lost' | 'flipped' }
  | { kind: 'reset-request' | 'reset-response' | 'truncated', at: number }
  | { kind: 'stalled', at: number, ms: number }
  | { kind: 'slow', ms: number }
  | { kind: 'pretended', etag?: string }
  | { kind: 'misnamed', etag: string }

export interface Seen { number: number, method: string, url: string, authorization: string }
export type Chooser = (request: Seen) => Fault | undefined

export interface FaultProxy {
  endpoint: string
  /** How often each kind of fault has happened. */
  counts: Map<string, number>
  /** The faults from now on; without an argument none. */
  use: (choose?: Chooser) => void
  close: () => Promise<void>
}

/** For tests whose sandboxes ask S3 themselves. */
export const noFaults = process.env.TEST_LIVE === '1' &&
  'its faults are made by a proxy on this machine, which sandboxes of Modal can\'t reach'

/** Stands between a client and the S3 server at `target` and does to each request what is chosen for it. */
export async function startFaultProxy (target: string): Promise<FaultProxy> {
  const agent = new Agent({ keepAlive: true })
  const counts = new Map<string, number>()
  let choose: Chooser = () => undefined
  let number = 0

  const server = createServer((request, response) => {
    const { method, url, headers: { authorization = '' } } = request
    const fault = choose({ number: number++, method: method!, url: url!, authorization })
    if (fault !== undefined) {
      const name = fault.kind === 'refused' ? fault.code : fault.kind
      counts.set(name, (counts.get(name) ?? 0) + 1)
    }
    // Whichever side breaks first, the other one is to notice.
    carry(request, response, fault).catch(() => response.destroy())
  })

  async function carry (request: IncomingMessage, response: ServerResponse, fault: Fault | undefined) {
    if (fault?.kind === 'refused') {
      await drain(request)
      const body = `<?xml version="1.0"?><Error><Code>${fault.code}</Code><Message>fault proxy</Message></Error>`
      response.writeHead(fault.status, { 'content-type': 'application/xml', 'content-length': body.length }).end(body)
      return
    }
    if (fault?.kind === 'pretended') return await pretend(request, response, fault.etag)
    const size = Number(request.headers['content-length'] ?? 0)
    const outgoing = httpRequest(target, {
      agent, method: request.method!, path: request.url!, headers: forwarded(request)
    })
    const answered = once(outgoing, 'response') as Promise<[IncomingMessage]>
    answered.catch(() => {})
    outgoing.on('error', () => response.destroy())
    response.on('close', () => { if (!response.writableFinished) outgoing.destroy() })
    const limit = fault?.kind === 'reset-request' ? Math.floor(size * fault.at) : Infinity
    await copy(request, outgoing, limit, async () => { response.destroy() })
    outgoing.end()
    const [answer] = await answered
    if (fault?.kind === 'lost') {
      await drain(answer)
      response.destroy()
      return
    }
    if (fault?.kind === 'slow') await sleep(fault.ms)
    if (fault?.kind === 'misnamed') {
      await drain(answer)
      response.writeHead(answer.statusCode!, { etag: fault.etag, 'content-length': 0 }).end()
      return
    }
    if (fault?.kind === 'flipped') return await flip(answer, response)
    await pass(answer, response, fault)
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    counts,
    use: (chooser = () => undefined) => { choose = chooser },
    async close () {
      server.close()
      server.closeAllConnections()
      agent.destroy()
      await once(server, 'close')
    }
  }
}

async function pretend (request: IncomingMessage, response: ServerResponse, etag?: string) {
  const hash = createHash('md5')
  for await (const chunk of request) hash.update(chunk)
  const told = etag ?? `"${hash.digest('hex')}"`
  const body = request.method === 'PUT'
    ? ''
    : `<?xml version="1.0"?><CompleteMultipartUploadResult><ETag>${told}</ETag></CompleteMultipartUploadResult>`
  response.writeHead(200, { ...told !== '' && { etag: told }, 'content-length': body.length }).end(body)
}

/** The answer with one bit changed, under the headers that it had. */
async function flip (answer: IncomingMessage, response: ServerResponse) {
  const body = Buffer.concat(await answer.toArray())
  if (body.length > 0) body[body.length >> 1]! ^= 1
  response.writeHead(answer.statusCode!, answer.rawHeaders).end(body)
}

/** The answer, as far as the fault lets it. */
async function pass (answer: IncomingMessage, response: ServerResponse, fault: Fault | undefined) {
  const size = Number(answer.headers['content-length'] ?? 0)
  const cut = fault !== undefined && 'at' in fault && fault.kind !== 'reset-request' ? Math.floor(size * fault.at) : Infinity
  const headers = fault?.kind === 'truncated'
    ? answer.rawHeaders.filter((_, index, all) => all[index - index % 2]!.toLowerCase() !== 'content-length')
    : answer.rawHeaders
  response.writeHead(answer.statusCode!, headers)
  await copy(answer, response, cut, async () => {
    if (fault?.kind === 'stalled') await sleep(fault.ms)
    if (fault?.kind !== 'truncated') response.destroy()
    answer.destroy()
  })
  response.end()
}

/** Copies up to `limit` bytes; `broken` is called instead of what would be the next one. */
async function copy (
  from: IncomingMessage, to: NodeJS.WritableStream, limit: number, broken: () => Promise<void>
): Promise<void> {
  let left = limit
  for await (const chunk of from as AsyncIterable<Buffer>) {
    const piece = chunk.subarray(0, left)
    left -= piece.length
    if (!to.write(piece)) await writable(to)
    if (piece.length < chunk.length) break
  }
  if (limit !== Infinity) await broken()
}

/** Until the stream takes more, or never will. */
async function writable (stream: NodeJS.WritableStream): Promise<void> {
  const over = new AbortController()
  const { signal } = over
  await Promise.race([once(stream, 'drain', { signal }), once(stream, 'close', { signal })].map((event) => event.catch(() => {})))
  over.abort()
}

async function drain (message: IncomingMessage): Promise<void> {
  message.resume()
  await once(message, 'end')
}

/** As they came: the host is signed, and what belongs to one connection is Node's to say. */
function forwarded ({ rawHeaders }: IncomingMessage): string[] {
  return rawHeaders.filter((_, index) => !/^(connection|expect)$/i.test(rawHeaders[index - index % 2]!))
}

/** Numbers from 0 to 1, the same ones for the same seed (mulberry32). */
export function randomNumbers (seed: number): () => number {
  let state = seed
  return () => {
    state = state + 0x6D2B79F5 | 0
    let mixed = Math.imul(state ^ state >>> 15, 1 | state)
    mixed = mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed) ^ mixed
    return ((mixed ^ mixed >>> 14) >>> 0) / 2 ** 32
  }
}

/** One request in `1 / rate` meets a fault of any kind, decided by the numbers given. */
export function randomFaults (random: () => number, rate: number): Chooser {
  const kinds: (() => Fault)[] = [
    () => ({ kind: 'refused', status: 500, code: 'InternalError' }),
    () => ({ kind: 'refused', status: 503, code: 'SlowDown' }),
    () => ({ kind: 'lost' }),
    () => ({ kind: 'reset-request', at: random() }),
    () => ({ kind: 'reset-response', at: random() }),
    () => ({ kind: 'truncated', at: random() }),
    () => ({ kind: 'stalled', at: random(), ms: 2500 }),
    () => ({ kind: 'slow', ms: 200 })
  ]
  // What S3 finds out only while it puts the parts together it says in the body of a success.
  const late: Fault = { kind: 'refused', status: 200, code: 'InternalError' }
  return ({ method, url }) => {
    if (random() >= rate) return
    const kind = Math.floor(random() * kinds.length)
    return method === 'POST' && url.includes('uploadId') && kind === 0 ? late : kinds[kind]!()
  }
}
