import { join } from 'node:path'
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

  async prepare (layout: Layout, directory: string) {
    const { root, userNamespace, network, volumes, cgroups } = layout
    const plainVolumes = layout.plainVolumes ? volumes.map(({ path }) => path) : []
    const [pipes, tools] = [this.#pipes, this.#tools]
    return {
      script: outerScript({ ...layout, namespace: join(directory, 'user-namespace'), perl: tools.perl }),
      async engine (supervisor: Supervisor, lost: () => void) {
        const initPid = await firstChild(await lastChild(supervisor.pid))
        const given = { network, root, userNamespace, cgroups, plainVolumes, pipes, ...tools }
        return new NamespaceEngine({ ...given, supervisor, initPid, lost })
      }
    }
  }
}
