import { Server, ServerCredentials, type ServiceDefinition } from '@grpc/grpc-js'
import type { Authority } from './auth.js'
import type { Log } from './log.js'
import { loadServices } from './proto/load.js'
import { Adapter, type Handlers } from './rpc/adapter.js'
import { refused } from './rpc/unsupported.js'

const mebibyte = 1024 * 1024

export interface ServerParts { authority: Authority, log: Log, client: Handlers, commandRouter: Handlers }

/** Both services on one loopback port. gRPC-js tolerates the SDK's keepalive pings without calls as it is. */
export async function listen (parts: ServerParts, port: number): Promise<{ server: Server, port: number }> {
  const { authority, log } = parts
  const server = new Server({
    'grpc.max_receive_message_length': 100 * mebibyte,
    'grpc.max_send_message_length': 100 * mebibyte
  })
  const services = loadServices()
  const client = new Adapter((metadata) => { authority.checkTokens(metadata); return '' }, log)
  const router = new Adapter((metadata) => authority.taskOf(metadata), log)
  add(server, client, services.client, parts.client)
  add(server, router, services.commandRouter, parts.commandRouter)
  add(server, client, refused.client.definition, refused.client.handlers)
  add(server, router, refused.commandRouter.definition, refused.commandRouter.handlers)
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
      if (error) reject(new Error(`binding the emulator to 127.0.0.1:${port}`, { cause: error }))
      else resolve(bound)
    })
  })
}

/** Ends the server after the calls in flight, or by force after `graceMs`. */
export function shutdown (server: Server, graceMs: number): Promise<void> {
  return new Promise((resolve) => {
    const force = setTimeout(() => { server.forceShutdown(); resolve() }, graceMs)
    server.tryShutdown(() => { clearTimeout(force); resolve() })
  })
}
