import type { Engine } from './engine.js'
import type { Layout } from './setup.js'
import type { Supervisor } from './supervisor.js'

/** A kind of container. */
export interface Launcher {
  /** For people. */
  readonly name: string
  /** Whether the machine's own `ls` and `stat` fail in it: the base `local` then has others. */
  readonly needsSubstitutes: boolean
  /** Whether the machine shows the processes of containers as its own. */
  readonly showsProcesses: boolean
  /** @param directory of the container, for files of its own */
  prepare (layout: Layout, directory: string): Promise<Launch>
}

interface Launch {
  /** What the supervisor runs. */
  script: string
  /** Once it is ready. @param lost ends the container */
  engine (supervisor: Supervisor, lost: () => void): Promise<Engine>
}
