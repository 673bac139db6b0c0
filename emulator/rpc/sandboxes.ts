import type { Authority } from '../auth.js'
import { checkName, environmentOf } from '../control/environments.js'
import type { SandboxCreateMessage, SandboxListMessage, SandboxTag } from '../proto/messages.js'
import { createSandbox, type CreateParts } from '../sandboxes/create.js'
import { checkTags } from '../sandboxes/definition.js'
import type { Family, Sandbox } from '../sandboxes/sandbox.js'
import { failedPrecondition } from '../control/status.js'
import { type Handlers, settledWithin, type Unary } from './adapter.js'
import type { Idempotency } from './idempotency.js'

interface IdMessage { sandboxId: string }
interface NameMessage { sandboxName: string, appName: string, environmentName: string, includeTerminated: boolean }

export interface SandboxParts extends CreateParts {
  authority: Authority
  idempotency: Idempotency
  /** The command router's URL: the SDK insists on https, and then speaks plain HTTP/2 to a loopback host. */
  routerUrl: () => string
}

/** Creation, end, names, tags and lists of sandboxes: one set of handlers for both families. */
export function sandboxHandlers (parts: SandboxParts): Handlers {
  const { idempotency, registry, authority } = parts
  const access = async (sandbox: Sandbox) =>
    ({ url: parts.routerUrl(), jwt: await authority.taskToken(sandbox.info.taskId) })
  return {
    unary: {
      ...family(parts, 'V1', ''),
      ...family(parts, 'V2', 'V2'),

      SandboxCreate: (request: SandboxCreateMessage, { metadata, warn }) => idempotency.once(metadata, async () => {
        const sandbox = await createSandbox(parts, request, 'V1', warn)
        return { sandboxId: sandbox.id, metadata: handleMetadata(sandbox) }
      }),
      SandboxCreateV2: (request: SandboxCreateMessage, { metadata, warn }) => idempotency.once(metadata, async () => {
        const sandbox = await createSandbox(parts, request, 'V2', warn)
        const { id: sandboxId, info: { taskId } } = sandbox
        // One that could not be started has none; its result tells so.
        const tunnels = await sandbox.ports.then(({ tunnels }) => tunnels, () => [])
        const commandRouterAccess = await access(sandbox)
        return { sandboxId, taskId, tunnels, metadata: handleMetadata(sandbox), commandRouterAccess }
      }),

      SandboxGetCommandRouterAccess: ({ sandboxId, taskId }: { sandboxId?: string, taskId?: string }) =>
        access(sandboxId ? registry.byId(sandboxId) : registry.byTask(taskId ?? '')),
      TaskGetCommandRouterAccess: ({ taskId }: { taskId: string }) => access(registry.byTask(taskId)),

      SandboxSetName ({ sandboxId, name }: IdMessage & { name: string }) {
        const sandbox = registry.byId(sandboxId, 'V2')
        if (!sandbox.running) throw failedPrecondition(`Sandbox ${sandboxId} is no longer running`)
        if (sandbox.name !== undefined) throw failedPrecondition(`Sandbox ${sandboxId} already has a name`)
        registry.checkNameFree(sandbox.info.appId, checkName(name, 'Sandbox'))
        sandbox.name = name
        return {}
      }
    }
  }
}

/** The RPCs that exist twice: `Name` for V1 and `NameV2` for V2. */
function family ({ registry, state }: SandboxParts, family: Family, suffix: string): Record<string, Unary> {
  const find = (id: string) => registry.byId(id, family)
  const handlers: Record<string, Unary> = {
    async SandboxWait ({ sandboxId, timeout }: IdMessage & { timeout: number }, { signal }) {
      const sandbox = find(sandboxId)
      if (sandbox.running && timeout > 0) {
        await settledWithin(sandbox.settled(), timeout * 1000, signal)
        // What the sandbox has written could not be stored, so it is not gone. Nobody is to wait for that.
        const { stopFailure } = await sandbox.started
        if (sandbox.running && stopFailure !== undefined) throw stopFailure
      }
      return { ...result(sandbox), metadata: handleMetadata(sandbox) }
    },
    SandboxTerminate ({ sandboxId }: IdMessage) {
      const sandbox = find(sandboxId)
      if (!sandbox.running) return { existingResult: sandbox.result }
      // As on Modal, the answer does not wait for the end. The container layer logs failures.
      sandbox.stop('terminated').catch(() => {})
      return {}
    },
    SandboxGetTaskId ({ sandboxId }: IdMessage) {
      const sandbox = find(sandboxId)
      // With the result alone, a finished sandbox would look as if it had never been scheduled.
      return { taskId: sandbox.info.taskId, ...(sandbox.result && { taskResult: sandbox.result }) }
    },
    SandboxTagsSet ({ sandboxId, tags }: IdMessage & { tags: SandboxTag[] }) {
      find(sandboxId).tags = checkTags(tags)
      return {}
    },
    SandboxTagsGet: ({ sandboxId }: IdMessage) => ({ tags: find(sandboxId).tags }),
    SandboxGetFromName ({ sandboxName, appName, environmentName, includeTerminated }: NameMessage) {
      const app = { name: appName, environment: environmentOf(state, environmentName) }
      const sandbox = registry.byName(app, sandboxName, family, includeTerminated)
      return { sandboxId: sandbox.id, metadata: handleMetadata(sandbox) }
    },
    SandboxList (request: SandboxListMessage) {
      const sandboxes = registry.list({
        appId: request.appId,
        environment: environmentOf(state, request.environmentName),
        // The V2 list includes both families.
        family: family === 'V1' ? 'V1' : undefined,
        before: request.beforeTimestamp,
        includeFinished: request.includeFinished,
        tags: checkTags(request.tags)
      })
      return { sandboxes: sandboxes.map(listItem) }
    }
  }
  return Object.fromEntries(Object.entries(handlers).map(([name, handler]) => [name + suffix, handler]))
}

function listItem (sandbox: Sandbox): object {
  const { id, name, tags, info: { createdAt, taskId, appId, definition } } = sandbox
  const { imageId, timeoutSecs, idleTimeoutSecs } = definition
  return {
    id,
    name: name ?? '',
    tags,
    createdAt,
    appId,
    imageId,
    timeoutSecs,
    ...(idleTimeoutSecs !== undefined && { idleTimeoutSecs }),
    taskInfo: { id: taskId, sandboxId: id, startedAt: createdAt, ...result(sandbox) },
    metadata: handleMetadata(sandbox)
  }
}

function handleMetadata (sandbox: Sandbox): object {
  return { appId: sandbox.info.appId, ...result(sandbox) }
}

function result (sandbox: Sandbox): { result?: object } {
  return sandbox.result ? { result: sandbox.result } : {}
}
