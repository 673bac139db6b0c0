export { createClient, type Client, type ClientOptions } from './client.js'
export { ApiError, unwrap, type ErrorCode } from './errors.js'
export {
  EventStream, type CreateEvent, type ExecEvent, type RunEvent, type SandboxEvent, type SyncEvent
} from './events.js'
export type { FollowOptions, Runs, RunSpec, RunView } from './runs.js'
export type { CreateOptions, ExecSpec, Sandboxes, SandboxSpec, StreamOptions, SyncSpec } from './sandboxes.js'
export type { components, operations, paths } from './schema.js'
