import { once } from 'node:events'
import {
  connect, createServer, type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream
} from 'node:http2'
import type { AddressInfo } from 'node:net'
import { loadServices } from '../../emulator/proto/load.js'
import { retryPolicy } from '../../emulator/control/status.js'

/**
 * What happens to a call on its way to Modal. `held`: carried out, and answered only after `release`. `delayed`: it
 * reaches Modal only then. `refused`: answered in Modal's place, with `throttle` by asking to repeat it after as many
 * seconds. `lost`: carried out, and answered as if Modal was away.
 */
export type Fault =
  | { kind: 'held' | 'delayed', release: Promise<unknown> }
  | { kind: 'refused', status: number, throttle?: number }
  | { kind: 'lost' }

export interface Call { method: string, request: any }

const services = loadServices()

/** Stands between clients and the Modal (or emulator) at `target` and does to each unary call what is chosen for it. */
export async function startModalProxy (target: string) {
  const calls: Call[] = []
  let choose: (call: Call) => Fault | undefined = () => undefined
  const upstream = connect(target)
  upstream.on('error', () => {})
  const sessions = new Set<ServerHttp2Session>()
  const server = createServer()
  server.on('session', (session) => {
    sessions.add(session)
    session.on('error', () => {}).once('close', () => sessions.delete(session))
  })
  server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
    stream.on('error', () => {})
    carry(stream, headers).catch(() => stream.destroy())
  })

  async function carry (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) {
    const method = headers[':path']!.split('/').at(-1)!
    const body = Buffer.concat(await stream.toArray())
    const definition = services.client[method]
    const call = { method, request: definition?.requestDeserialize(body.subarray(5)) }
    calls.push(call)
    const fault = choose(call)
    if (fault?.kind === 'refused') return refuse(stream, fault)
    if (fault?.kind === 'delayed') await fault.release
    const outgoing = upstream.request({
      ':method': 'POST',
      ':path': headers[':path'],
      ...Object.fromEntries(Object.entries(headers).filter(([name]) => !/^(:|host$|connection$)/.test(name)))
    })
    outgoing.on('error', () => stream.destroy())
    stream.once('close', () => { if (fault === undefined) outgoing.close() })
    outgoing.end(body)
    let trailers: IncomingHttpHeaders = {}
    outgoing.on('trailers', (given) => { trailers = given })
    const [answer] = await once(outgoing, 'response') as [IncomingHttpHeaders]
    if (fault !== undefined) {
      const chunks = await outgoing.toArray()
      if (fault.kind === 'lost') return refuse(stream, { kind: 'refused', status: 14 })
      await fault.release
      return respond(stream, answer, chunks, () => trailers)
    }
    await respond(stream, answer, outgoing, () => trailers)
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** All that were made, in order. */
    calls,
    /** The faults from now on; without an argument none. */
    use (chooser: typeof choose = () => undefined) { choose = chooser },
    async close () {
      for (const session of sessions) session.destroy()
      upstream.destroy()
      server.close()
      await once(server, 'close')
    }
  }
}

async function respond (
  stream: ServerHttp2Stream, answer: IncomingHttpHeaders, chunks: AsyncIterable<Buffer> | Iterable<Buffer>,
  trailers: () => IncomingHttpHeaders
) {
  if (stream.destroyed) return
  const own = (headers: IncomingHttpHeaders) => Object.fromEntries(Object.entries(headers).filter(([name]) => name !== 'date'))
  // An error without an answer is one frame.
  if (answer['grpc-status'] !== undefined) return stream.respond(own(answer), { endStream: true })
  stream.once('wantTrailers', () => stream.sendTrailers(own(trailers())))
  stream.respond(own(answer), { waitForTrailers: true })
  for await (const chunk of chunks) stream.write(chunk)
  stream.end()
}

function refuse (stream: ServerHttp2Stream, { status, throttle }: Extract<Fault, { kind: 'refused' }>) {
  stream.respond({
    ':status': 200,
    'content-type': 'application/grpc',
    'grpc-status': String(status),
    'grpc-message': 'refused by a test',
    ...(throttle !== undefined && { 'grpc-status-details-bin': retryPolicy(status, throttle).toString('base64') })
  }, { endStream: true })
}
