import { type GrpcObject, loadPackageDefinition, type ServiceClientConstructor, type ServiceDefinition } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { fileURLToPath } from 'node:url'

const client = 'modal.client.ModalClient'

/** The two gRPC services, from the `.proto` files beside this module. */
export function loadServices (): { client: ServiceDefinition, commandRouter: ServiceDefinition } {
  return {
    client: { ...service('client.proto', client), ...service('older-clients.proto', client) },
    commandRouter: service('command-router.proto', 'modal.task_command_router.TaskCommandRouter')
  }
}

function service (file: string, name: string): ServiceDefinition {
  const path = fileURLToPath(new URL(file, import.meta.url))
  const definition = loadSync(path, { keepCase: false, longs: Number, defaults: true, oneofs: false })
  let found: unknown = loadPackageDefinition(definition)
  for (const part of name.split('.')) found = (found as GrpcObject)[part]
  return (found as ServiceClientConstructor).service
}
