import { join } from 'node:path'
import { hostTool } from '../host.js'
import type { Launcher } from '../launcher.js'
import type { Pipes } from '../pipes.js'
import { firstChild, lastChild } from '../process.js'
import type { Layout } from '../setup.js'
import type { Supervisor } from '../supervisor.js'
import { NamespaceEngine } from './engine.js'
import { outerScript } from './script.js'

export class NamespaceLauncher implements Launcher {
  readonly name = 'Linux namespaces and overlayfs'
  readonly needsSubstitutes = false
  readonly showsProcesses = true
  readonly #pipes: Pipes
  readonly #tools: { nsenter: string, perl: string }

  constructor (pipes: Pipes, tools: { nsenter: string, perl: string }) {
    this.#pipes = pipes
    this.#tools = tools
  }

  async filters (): Promise<string | undefined> {
    const missing = 'slirp4netns, which is the way out of a network of their own, is not installed'
    return await hostTool('slirp4netns').then(() => undefined, () => missing)
  }

  async prepare (layout: Layout, directory: string) {
    const { root, userNamespace, network, volumes, cgroups } = layout
    const plainVolumes = layout.plainVolumes ? volumes.map(({ path }) => path) : []
    const [pipes, tools] = [this.#pipes, this.#tools]
    return {
      script: outerScript({ ...layout, directory, namespace: join(directory, 'user-namespace'), perl: tools.perl }),
      async engine (supervisor: Supervisor, lost: () => void) {
        const initPid = await firstChild(await lastChild(supervisor.pid))
        const given = { network, root, userNamespace, cgroups, plainVolumes, pipes, ...tools }
        return new NamespaceEngine({ ...given, supervisor, initPid, lost })
      }
    }
  }
}
