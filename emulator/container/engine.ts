import type { VolumeView } from './setup.js'
import type { ExecSpec, Process } from './types.js'

/** A process that can be ended, alone: not what it started. */
export interface Command extends Process { kill (): Promise<void> }

/** What differs between the kinds of containers: how commands get in, and how everything ends. */
export interface Engine {
  /** Starts a command whose specification is complete; its output goes to files whose names begin with `spool`. */
  enter (exec: ExecSpec, spool: string): Promise<Command>
  /** Returns when no process of the container is left; its mounts stay. */
  killAll (): Promise<void>
  /** Shows another view of a volume in place of one. */
  remount (before: VolumeView, after: VolumeView): Promise<void>
}
