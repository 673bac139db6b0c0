import { Server, ServerCredentials, type ServiceDefinition } from '@grpc/grpc-js'
import { StartProblem } from '../lib/start-problem.js'
import type { Authority } from './auth.js'
import type { Log } from './log.js'
import { loadServices } from './proto/load.js'
import { Adapter, type Handlers } from './rpc/adapter.js'
import type { Distance } from './rpc/distance.js'
import { unsupported } from './rpc/unsupported.js'

const mebibyte = 1024 * 1024

interface ServerParts { authority: Authority, log: Log, distance: Distance, client: Handlers, commandRouter: Handlers }

/** Serves both services on one loopback port. By default grpc-js tolerates the SDK's keepalive pings without calls. */
export async function listen (parts: ServerParts, port: number): Promise<{ server: Server, port: number }> {
  const { authority, log, distance } = parts
  const server = new Server({
    'grpc.max_receive_message_length': 100 * mebibyte,
    'grpc.max_send_message_length': 100 * mebibyte
  })
  const services = loadServices()
  const client = new Adapter((metadata) => { authority.checkTokens(metadata); return '' }, log, distance)
  const router = new Adapter((metadata) => authority.taskOf(metadata), log, distance)
  add(server, client, services.client, parts.client)
  add(server, router, services.commandRouter, parts.commandRouter)
  add(server, client, unsupported.client.definition, unsupported.client.handlers)
  add(server, router, unsupported.commandRouter.definition, unsupported.commandRouter.handlers)
  return { server, port: await bind(server, port) }
}

function add (server: Server, adapter: Adapter, definition: ServiceDefinition, handlers: Handlers): void {
  const implementation = adapter.implementation(handlers)
  const missing = Object.keys(definition).filter((method) => implementation[method] === undefined)
  if (missing.length > 0) throw new Error(`No handler for ${missing.join(', ')}`)
  server.addService(definition, implementation)
}

function bind (server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(new StartProblem(`binding the emulator to 127.0.0.1:${port} failed: choose another port.`, { cause: error }))
      else resolve(bound)
    })
  })
}

/** Stops the server once the calls in flight have ended, or forcibly after `graceMs`. */
export function shutdown (server: Server, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const force = setTimeout(() => { server.forceShutdown(); resolve() }, graceMs)
    server.tryShutdown(() => { clearTimeout(force); resolve() })
  })
}
