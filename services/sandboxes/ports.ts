import { AppError } from '../../errors.js'
import type { Account } from '../../schemas/account.js'
import type { OpenPort, PortAccess } from '../../schemas/port.js'
import { callModal, lookupMs } from '../modal/call.js'
import { runCommand, sandboxGone } from '../modal/process.js'
import { loadScript } from '../modal/script.js'
import type { SandboxService } from './service.js'

const script = loadScript(import.meta.url, 'ports.sh')
const timeoutMs = 20_000
/** Thousands of sockets. */
const mostBytes = 2 * 1024 * 1024
/** Modal's name of the parameter that holds a connect token: a browser can send no header with the first request. */
const tokenParameter = '_modal_connect_token'
const listening = '0A'
/** In the kernel's notation: any address, and loopback's, of IPv4 and IPv6. */
const reachable = ['00000000', '0100007F', '0'.repeat(32), '00000000000000000000000001000000']
const blocked = { message: 'Nothing reaches the sandbox: it was created with network.block.', hint: 'Create one without it.' }
/** No client can use more. */
const mostPorts = 100

type Sandboxes = Pick<SandboxService, 'open'>

/** The ports on which programs in a sandbox listen, and the ways to them. */
export class Ports {
  readonly #sandboxes: Sandboxes

  constructor (sandboxes: Sandboxes) {
    this.#sandboxes = sandboxes
  }

  /**
   * By the sandbox's own word: none of these ports need answer.
   * @throws {AppError} as `open` of the sandboxes; COMMAND_FAILED when it says more than it may
   */
  async list (account: Account, id: string): Promise<OpenPort[]> {
    const { sandbox } = await this.#sandboxes.open(account, id)
    const { stdout } = await runCommand(sandbox, 'ports', ['sh', '-c', script], { timeoutMs, limit: mostBytes })
    return listeningPorts(stdout.toString('latin1'))
  }

  /**
   * A way to one port for whoever has its token, as long as the sandbox lives; Modal passes on nothing without it.
   * @throws {AppError} as `open` of the sandboxes; NETWORK_BLOCKED
   */
  async access (account: Account, id: string, port: number): Promise<PortAccess> {
    const { network, sandbox } = await this.#sandboxes.open(account, id)
    if (network === 'blocked') throw new AppError('NETWORK_BLOCKED', blocked)
    const create = () => sandbox.createConnectToken({ port })
    const { url, token } = await callModal('connect token', lookupMs, create, sandboxGone)
    const link = new URL(url)
    link.searchParams.set(tokenParameter, token)
    return { port, url, token, link: link.href }
  }
}

/** Reads what the script says: ports of listening sockets that processes of the sandbox hold, each once. */
export function listeningPorts (text: string): OpenPort[] {
  const [table = '', sockets = ''] = text.split('\nsockets\n')
  const own = new Set(sockets.split('\n'))
  const ports = table.split('\n').flatMap((line) => {
    const [, local = '', , state, , , , , , inode = ''] = line.trim().split(/\s+/)
    const [, address = '', hex = ''] = /^([0-9A-F]{8,32}):([0-9A-F]{4})$/.exec(local) ?? []
    const isOpen = state === listening && reachable.includes(address) && own.has(inode)
    return isOpen ? [Number.parseInt(hex, 16)] : []
  })
  return [...new Set(ports)].sort((one, other) => one - other).slice(0, mostPorts).map((port) => ({ port }))
}
