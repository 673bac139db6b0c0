import type { Session } from './base.js'
import type { OnProgress } from './report.js'
import type { ObjectStore } from './s3/object-store.js'
import type { AgentLauncher } from './transfer/agent.js'
import type { Workspace } from './workspace/workspace.js'

/** Of a sync in either direction. */
export interface SyncOptions {
  workspace: Workspace
  store: ObjectStore
  /** Without one all bytes pass through the service. */
  agentLauncher?: AgentLauncher | undefined
  /** The store's, for the limits of keys. */
  prefix: string
  /** Whose workspace it is. Without a session nobody else is expected to use the prefix. */
  session?: Session | undefined
  dryRun?: boolean
  /** Also delete at the destination what a sync once put there and the source does not have any more. */
  delete?: boolean
  onProgress?: OnProgress | undefined
}
