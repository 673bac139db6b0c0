import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { hostTool, removeTree } from './host.js'
import { type JoinedNetwork, ownNetwork } from './network.js'
import { Supervisor } from './supervisor.js'
import type { Network } from './types.js'

interface Options {
  /** Of containers. */
  directory: string
  userNamespace: boolean
  /** Whether they share the machine's network though they could have their own. */
  isShared: boolean
}

/** Which network a container gets, as far as the machine can make networks. */
export class Networks {
  readonly #options: Options
  /** Why containers have no networks of their own. */
  readonly missing: Promise<string | undefined>

  constructor (options: Options) {
    this.#options = options
    this.missing = options.isShared ? Promise.resolve('EMULATOR_NETWORK is host') : this.#try()
  }

  /** @param directory of the container */
  async choose (wanted: Network, directory: string): Promise<'host' | 'none' | JoinedNetwork> {
    if (wanted === 'open') return await this.missing === undefined ? ownNetwork(directory) : 'host'
    return typeof wanted === 'object' && 'cidrs' in wanted ? ownNetwork(directory, wanted.cidrs) : wanted
  }

  /** Makes one. */
  async #try (): Promise<string | undefined> {
    const { userNamespace } = this.#options
    const directory = join(this.#options.directory, 'network-test')
    try {
      await hostTool('slirp4netns').catch(() => { throw new Error('slirp4netns, which is their way out, is not installed') })
      await mkdir(directory, { recursive: true })
      const script = `set -e\nmount --make-rprivate /\n${ownNetwork(directory).script}\necho ready\nread -r line || true`
      const supervisor = await Supervisor.start({ script, directory, userNamespace })
      await supervisor.end()
      return undefined
    } catch (error) {
      return (error as Error).message
    } finally {
      await removeTree(directory).catch(() => {})
    }
  }
}
