import { permissionDenied } from '../control/status.js'
import type { SandboxRegistry } from '../sandboxes/registry.js'
import type { Sandbox } from '../sandboxes/sandbox.js'
import type { Context } from './adapter.js'

/** The sandbox that a call at the command router is about. @throws {StatusError} PERMISSION_DENIED, NOT_FOUND */
export function sandboxOfTask (registry: SandboxRegistry, taskId: string, context: Context): Sandbox {
  if (taskId !== context.taskId) throw permissionDenied('The token is for another task')
  return registry.byTask(taskId)
}
