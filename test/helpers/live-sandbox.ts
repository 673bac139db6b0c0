import { ModalClient, type Image, type Sandbox, type SandboxCreateParams } from 'modal'
import { costOf } from '../../doctor/bench.js'
import { withDeadline } from '../../services/modal/call.js'
import { runCommand } from '../../services/modal/process.js'

const minute = 60_000
/**
 * The sandbox ends itself when its lease was not renewed for a while: so it does not outlive the tests by more than two
 * of these times, whatever ends them.
 */
const leaseSeconds = 60
const keepWhileRenewed = 'touch /tmp/lease; while rm /tmp/lease; do sleep "$1"; done'

interface LiveSandboxOptions {
  /** What runs there, for messages and the name of its app. */
  name: string
  image: (client: ModalClient) => Image
  /** Where it will listen. */
  port: number
  cpu: number
  memoryMiB: number
  env?: SandboxCreateParams['env']
  /** For the test of the lease itself. */
  lease?: number
}

export interface LiveSandbox {
  sandbox: Sandbox
  /** The port, through a tunnel: `http://host:port`. */
  url: string
  /** Ends the sandbox, and tells on stderr what it has cost. */
  close: () => Promise<void>
}

/**
 * A sandbox with what sandboxes of Modal are to reach, behind a tunnel, as they can't reach this machine. Ends with
 * `close`, with this process, and in any case after twenty minutes.
 * @throws {AppError} MODAL_TIMEOUT after ten minutes, most of which is for the build of the image.
 */
export async function startLiveSandbox (options: LiveSandboxOptions): Promise<LiveSandbox> {
  const { name, image, port, cpu, memoryMiB, env = {}, lease = leaseSeconds } = options
  const client = new ModalClient()
  let renewal: NodeJS.Timeout | undefined
  try {
    const app = await withDeadline(minute, () => client.apps.fromName(`acct-live-${name}`, { createIfMissing: true }))
    const sandbox = await withDeadline(10 * minute, () => client.sandboxes.create(app, image(client), {
      command: ['sh', '-c', keepWhileRenewed, 'sh', String(lease)],
      unencryptedPorts: [port],
      env,
      cpu,
      memoryMiB,
      timeoutMs: 20 * minute
    }))
    const started = Date.now()
    renewal = setInterval(() => {
      // The next one may succeed.
      runCommand(sandbox, 'lease', ['touch', '/tmp/lease']).catch(() => {})
    }, lease * 1000 / 4).unref()
    const close = async () => {
      clearInterval(renewal)
      await withDeadline(minute, () => sandbox.terminate({ wait: true }))
      client.close()
      const ms = Date.now() - started
      console.error(`live: ${name} ran for ${Math.round(ms / 1000)} s in a sandbox of its own: about $${costOf(ms, { cpu, memoryMiB }).toFixed(4)}`)
    }
    try {
      const [host, tunnelPort] = (await sandbox.tunnels(minute))[port]!.tcpSocket
      return { sandbox, url: `http://${host}:${tunnelPort}`, close }
    } catch (error) {
      await close().catch(() => {})
      throw error
    }
  } catch (error) {
    client.close()
    throw error
  }
}
