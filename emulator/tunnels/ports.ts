import { sharedLoopback } from '../container/network.js'
import type { PortSpec } from '../proto/messages.js'
import type { Certificate } from './certificate.js'
import { openGate } from './gate.js'
import { openTunnel, type Target } from './tunnel.js'

/** As the wire has it. */
export interface TunnelData {
  host: string
  port: number
  unencryptedHost?: string
  unencryptedPort?: number
  containerPort: number
}

interface Options extends Target {
  certificate: () => Promise<Certificate>
  track: (activity: Promise<unknown>) => void
  userOf: (token: string, port: number) => Promise<{ metadata: string } | undefined>
}

const host = sharedLoopback
const http2 = 1

/** The ways into one sandbox: a tunnel for each of its open ports, and gates for connect tokens. */
export class SandboxPorts {
  readonly #options: Options
  readonly #closing: Array<() => void> = []
  readonly #gates = new Map<number, Promise<string>>()
  #hasClosed = false
  tunnels: TunnelData[] = []

  constructor (options: Options) {
    this.#options = options
  }

  /** Every tunnel takes TLS; one that is called unencrypted takes plain TCP on another port as well. */
  async open (specs: PortSpec[]): Promise<void> {
    if (specs.length === 0) return
    const certificate = await this.#options.certificate()
    this.tunnels = await Promise.all(specs.map(async ({ port, unencrypted, tunnelType }) => {
      const protocols = tunnelType === http2 ? ['h2'] : ['http/1.1']
      const encrypted = await this.#tunnel(port, { ...certificate, protocols })
      if (!unencrypted) return { host, port: encrypted, containerPort: port }
      const unencryptedPort = await this.#tunnel(port)
      return { host, port: encrypted, unencryptedHost: host, unencryptedPort, containerPort: port }
    }))
  }

  /** The URL at which connect tokens of a port are good. */
  async gate (port: number): Promise<string> {
    const known = this.#gates.get(port)
    if (known) return await known
    const { userOf, connect, allows } = this.#options
    const gate = openGate({ port, connect, allows, userOf: async (token) => await userOf(token, port) })
    const url = gate.then(({ url, close }) => {
      this.#closeWith(close)
      return url
    })
    this.#gates.set(port, url)
    return await url
  }

  close (): void {
    this.#hasClosed = true
    for (const close of this.#closing.splice(0)) close()
  }

  async #tunnel (port: number, tls?: Certificate & { protocols: string[] }): Promise<number> {
    const { connect, allows, track } = this.#options
    const tunnel = await openTunnel({ port, connect, allows, track, ...tls && { tls } })
    this.#closeWith(tunnel.close)
    return tunnel.port
  }

  #closeWith (close: () => void): void {
    if (this.#hasClosed) close()
    else this.#closing.push(close)
  }
}
