import { validateHeaderValue } from 'node:http'
import type { Authority } from '../auth.js'
import { failedPrecondition, invalid } from '../control/status.js'
import { isBlocked } from '../sandboxes/definition.js'
import type { SandboxRegistry } from '../sandboxes/registry.js'
import type { Family } from '../sandboxes/sandbox.js'
import type { Handlers, Unary } from './adapter.js'

interface ConnectMessage { sandboxId: string, userMetadata: string, port?: number }

const defaultPort = 8080
/** Modal's. */
const maxMetadataLength = 512

/** The ways from outside to a port in a sandbox: tunnels, which are open to all, and tokens for HTTP. */
export function tunnelHandlers (registry: SandboxRegistry, authority: Authority): Handlers {
  return { unary: { ...family('V1', ''), ...family('V2', 'V2') } }

  function family (family: Family, suffix: string): Record<string, Unary> {
    return {
      async [`SandboxGetTunnels${suffix}`] ({ sandboxId }: { sandboxId: string }) {
        const sandbox = registry.byId(sandboxId, family)
        const { tunnels } = await sandbox.ports
        return { tunnels, ...sandbox.result && { result: sandbox.result } }
      },
      async [`SandboxCreateConnectToken${suffix}`] ({ sandboxId, userMetadata, port = defaultPort }: ConnectMessage) {
        const sandbox = registry.byId(sandboxId, family)
        const ports = await sandbox.ports
        if (!sandbox.running) throw failedPrecondition(`Sandbox ${sandboxId} has already finished`)
        if (isBlocked(sandbox.info.definition)) throw failedPrecondition(`The network of sandbox ${sandboxId} is blocked`)
        if (port < 1 || port > 65_535) throw invalid(`port must be between 1 and 65535, got ${port}`)
        const token = await authority.connectToken({ sandboxId, port, metadata: checkMetadata(userMetadata) })
        return { url: await ports.gate(port), token }
      }
    }
  }
}

/** It becomes the value of a header. */
function checkMetadata (text: string): string {
  if (text.length >= maxMetadataLength) throw invalid(`user_metadata must have fewer than ${maxMetadataLength} characters`)
  try {
    validateHeaderValue('x-verified-user-data', text)
    return text
  } catch {
    throw invalid('user_metadata must not contain control characters, or characters beyond Latin-1')
  }
}
