import { randomUUID } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Launcher } from '../launcher.js'
import type { Pipes } from '../pipes.js'
import { enterNetwork } from '../network.js'
import { lastChild } from '../process.js'
import type { Layout } from '../setup.js'
import type { Supervisor } from '../supervisor.js'
import { configuration, gvisorScript } from './config.js'
import { GvisorEngine } from './engine.js'

/** Neither KVM nor nested virtualisation is needed for ptrace. */
const platform = 'ptrace'

export class GvisorLauncher implements Launcher {
  readonly showsProcesses = false
  readonly name = `gVisor (runsc, ${platform}) and overlayfs`
  readonly needsSubstitutes: boolean
  readonly #pipes: Pipes
  readonly #runsc: string

  constructor (pipes: Pipes, runsc: string, needsSubstitutes: boolean) {
    this.needsSubstitutes = needsSubstitutes
    this.#pipes = pipes
    this.#runsc = runsc
  }

  async prepare (layout: Layout, directory: string) {
    const id = `sandbox-${randomUUID()}`
    const pipes = this.#pipes
    // Not cached: the host reads the files while the container runs, and when it was killed.
    const runsc = [this.#runsc, `--root=${join(directory, 'runsc')}`, `--platform=${platform}`, '--ignore-cgroups',
      `--network=${layout.network === 'none' ? 'none' : 'host'}`, '--file-access=shared', '--file-access-mounts=shared']
    await writeFile(join(directory, 'config.json'), JSON.stringify(configuration(layout)))
    return {
      script: gvisorScript(layout, directory, runsc, id),
      async engine (supervisor: Supervisor) {
        const runPid = await lastChild(supervisor.pid)
        const { network, userNamespace } = layout
        // Debian 12's version is asked through an abstract socket, which is in the network of the container.
        const enter = typeof network === 'object' ? enterNetwork(network, supervisor.pid, userNamespace) : []
        return new GvisorEngine({ network, supervisor, runPid, runsc: [...enter, ...runsc], id, pipes })
      }
    }
  }
}
