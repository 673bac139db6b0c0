import { status } from '@grpc/grpc-js'
import type { Spool } from '../container/types.js'
import type { ExecMessage, ExecStartMessage, StdinStreamMessage, StdinWriteMessage } from '../proto/messages.js'
import { startExec } from '../sandboxes/exec.js'
import type { SandboxRegistry } from '../sandboxes/registry.js'
import type { Sandbox } from '../sandboxes/sandbox.js'
import type { Exec } from '../sandboxes/stdin.js'
import type { Secrets } from '../control/secrets.js'
import { failedPrecondition, invalid, notFound, StatusError } from '../control/status.js'
import { type Context, type Handlers, settledWithin } from './adapter.js'
import { sandboxOfTask } from './sandbox-of-task.js'

interface StdioReadMessage extends ExecMessage { offset: number, fileDescriptor: number }
interface TaskMessage { taskId: string, containerId: string }

/** The command router: execs, and whatever else goes straight to a sandbox's machine. */
export function taskHandlers (registry: SandboxRegistry, secrets: Secrets): Handlers {
  const sandboxOf = (taskId: string, context: Context) => sandboxOfTask(registry, taskId, context)
  const execOf = async ({ taskId, execId }: ExecMessage, context: Context): Promise<Exec> => {
    const exec = await sandboxOf(taskId, context).execs.get(execId)
    if (exec) return exec
    throw notFound(`Exec with ID ${execId} not found`)
  }

  return {
    unary: {
      async TaskExecStart (request: ExecStartMessage, context) {
        await startExec(sandboxOf(request.taskId, context), request, secrets, registry.output)
        return {}
      },
      async TaskExecPoll (request: ExecMessage, context) {
        return (await execOf(request, context)).process.status ?? {}
      },
      async TaskExecWait (request: ExecMessage, context) {
        const { process } = await execOf(request, context)
        await settledWithin(process.exited, 24 * 3600_000, context.signal)
        return process.status ?? {}
      },
      async TaskExecStdinWrite (request: StdinWriteMessage, context) {
        const { stdin } = await execOf(request, context)
        const { lifetime } = sandboxOf(request.taskId, context)
        await lifetime.track(stdin.write(request.offset, request.data, request.eof))
        return {}
      },
      async TaskExecStdinStatus (request: ExecMessage, context) {
        const { stdin } = await execOf(request, context)
        stdin.openStream()
        return { numBytesWritten: stdin.written, closed: stdin.closed }
      },
      async SandboxStdinWriteV2 (request: StdinWriteMessage, context) {
        const sandbox = sandboxOf(request.taskId, context)
        const stdin = await sandbox.stdin()
        await sandbox.lifetime.track(stdin.write(request.offset, request.data, request.eof))
        return {}
      },
      async TaskReloadVolumes ({ taskId, containerId }: TaskMessage, context) {
        const sandbox = sandboxOf(taskId, context)
        if (!sandbox.running) throw notFound(`Sandbox ${sandbox.id} has already finished`)
        await (await sandbox.inside(containerId).started).reloadVolumes()
        return {}
      },
      async SandboxWaitUntilReady ({ taskId, timeout }: { taskId: string, timeout: number }, context) {
        const { readiness, id } = sandboxOf(taskId, context)
        if (!readiness) throw failedPrecondition(`Sandbox ${id} has no readiness probe`)
        await settledWithin(readiness.readyAt, timeout * 1000, context.signal)
        const readyAt = await Promise.race([readiness.readyAt, 'later' as const])
        if (readyAt === undefined) throw failedPrecondition(`Sandbox ${id} ended before it was ready`)
        // The one retried status that is right here: the SDK retries until its own deadline.
        if (readyAt === 'later') throw new StatusError(status.DEADLINE_EXCEEDED, `Sandbox ${id} is not ready yet`)
        return { readyAt }
      }
    },

    serverStream: {
      async * TaskExecStdioRead (request: StdioReadMessage, context) {
        const { process } = await execOf(request, context)
        yield * chunks(spoolOf(process, request.fileDescriptor), request.offset, context.signal)
      },
      async * SandboxStdioReadV2 (request: Omit<StdioReadMessage, 'execId'>, context) {
        const { main } = await sandboxOf(request.taskId, context).started
        let startingOffset = request.offset
        for await (const { data } of chunks(spoolOf(main, request.fileDescriptor), startingOffset, context.signal)) {
          yield { data, startingOffset }
          startingOffset += data.length
        }
      }
    },

    clientStream: {
      async TaskExecStdinWriteStream (requests: AsyncIterable<StdinStreamMessage>, context) {
        let target: Target | undefined
        for await (const message of requests) {
          if (message.start) target = await open(message.start, context)
          else if (!target) throw invalid('A stdin stream begins with a start message')
          else await forward(target, message)
        }
        return {}
      }
    }
  }

  async function open (start: ExecMessage & { offset: number }, context: Context): Promise<Target> {
    const { stdin } = await execOf(start, context)
    return { stdin, stream: stdin.openStream(), offset: start.offset, sandbox: sandboxOf(start.taskId, context) }
  }
}

interface Target { stdin: Exec['stdin'], stream: number, offset: number, sandbox: Sandbox }

async function forward (target: Target, { data, end }: StdinStreamMessage): Promise<void> {
  const bytes = data ?? Buffer.alloc(0)
  target.stdin.checkStream(target.stream)
  await target.sandbox.lifetime.track(target.stdin.write(target.offset, bytes, end !== null))
  target.offset += bytes.length
}

/** @param fileDescriptor 0 is stdout, 1 stderr: the router's own numbering */
function spoolOf (process: { stdout: Spool, stderr: Spool }, fileDescriptor: number): Spool {
  if (fileDescriptor === 0) return process.stdout
  if (fileDescriptor === 1) return process.stderr
  throw invalid(`Unknown file descriptor: ${fileDescriptor}`)
}

async function * chunks (spool: Spool, offset: number, signal: AbortSignal): AsyncIterable<{ data: Buffer }> {
  for await (const data of spool.read(offset, signal)) yield { data }
}
