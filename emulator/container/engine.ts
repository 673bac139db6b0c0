import type { VolumeView } from './setup.js'
import type { Limits } from './spool.js'
import type { ExecSpec, Process } from './types.js'

/** A process that can be ended, alone: not what it started. */
export interface Command extends Process { kill (): Promise<void> }

/** What differs between the kinds of containers: how commands get in, and how everything ends. */
export interface Engine {
  /** The machine's pid of the container's first process, where the machine shows its processes. */
  readonly initPid?: number
  /**
   * Starts a command whose specification is complete; its output goes to files whose names begin with `spool`, and is
   * kept within the limits.
   */
  enter (exec: ExecSpec, spool: string, limits: Limits): Promise<Command>
  /** Ends every process of the container; its mounts stay. @returns whether it is certain that none is left */
  killAll (): Promise<boolean>
  /**
   * Runs a shell script where the host's files are seen, and the container's root and mounts among them.
   * @throws {Error} with `code` and `stderr` when it fails; {ContainerError} `unsupported` where there is no such place
   */
  onHost (script: string): Promise<void>
  /** The host pids of the container's processes, or of those that hold its sockets. */
  pids (): Promise<number[]>
  /** Shows another view of a volume in place of one. */
  remount (before: VolumeView, after: VolumeView): Promise<void>
}
