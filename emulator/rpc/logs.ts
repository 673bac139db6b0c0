import type { Spool } from '../container/types.js'
import type { SandboxRegistry } from '../sandboxes/registry.js'
import { failedPrecondition, invalid } from '../control/status.js'
import { type Context, type Handlers } from './adapter.js'

interface LogsMessage { sandboxId: string, fileDescriptor: number, timeout: number, lastEntryId: string }
interface InputMessage { sandboxId: string, input: Buffer, index: number, eof: boolean }

/** The entrypoint's streams on V1: output as text by entry id (`<byte offset>-0`), input by message number. */
export function logHandlers (registry: SandboxRegistry): Handlers {
  const lastIndex = new WeakMap<object, number>()
  return {
    unary: {
      async SandboxStdinWrite ({ sandboxId, input, index, eof }: InputMessage) {
        const sandbox = registry.byId(sandboxId, 'V1')
        if (!sandbox.running) throw failedPrecondition(`Sandbox ${sandboxId} has already finished`)
        const stdin = await sandbox.stdin()
        if (index <= (lastIndex.get(sandbox) ?? 0)) return {}
        lastIndex.set(sandbox, index)
        await sandbox.lifetime.track(stdin.append(input, eof))
        return {}
      }
    },
    serverStream: {
      async * SandboxGetLogs (request: LogsMessage, context) {
        const { main } = await registry.byId(request.sandboxId, 'V1').started
        yield * batches(spoolOf(main, request.fileDescriptor), request, context)
      }
    }
  }
}

/** Never splits a character: the bytes of an incomplete one are held back, and not counted, until the rest arrives. */
async function * batches (spool: Spool, { lastEntryId, timeout, fileDescriptor }: LogsMessage, context: Context) {
  const expired = AbortSignal.timeout(Math.max(timeout, 1) * 1000)
  let offset = Number.parseInt(lastEntryId) || 0
  let pending: Buffer = Buffer.alloc(0)
  const batch = (bytes: Buffer) => {
    offset += bytes.length
    return { entryId: `${offset}-0`, items: [{ data: bytes.toString('utf8'), fileDescriptor }] }
  }
  for await (const chunk of untilAborted(spool.read(offset, AbortSignal.any([context.signal, expired])))) {
    const bytes = pending.length > 0 ? Buffer.concat([pending, chunk]) : chunk
    const complete = bytes.length - incompleteTail(bytes)
    pending = bytes.subarray(complete)
    if (complete > 0) yield batch(bytes.subarray(0, complete))
  }
  if (expired.aborted || context.signal.aborted) return
  if (pending.length > 0) yield batch(pending)
  yield { entryId: `${offset}-0`, items: [], eof: true }
}

/** The number of bytes at the end that begin a UTF-8 character without completing it. */
function incompleteTail (bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back]!
    if (byte < 0x80) return 0
    if (byte >= 0xc0) return back < (byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2) ? back : 0
  }
  return 0
}

/** A wait that ends without output is no failure: the client asks again from its last entry. */
async function * untilAborted (chunks: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  try {
    yield * chunks
  } catch (error) {
    if (!(error instanceof Error) || !/^(Abort|Timeout)Error$/.test(error.name)) throw error
  }
}

/** @param fileDescriptor 1 is stdout, 2 stderr: the control plane's numbering */
function spoolOf (process: { stdout: Spool, stderr: Spool }, fileDescriptor: number): Spool {
  if (fileDescriptor === 1) return process.stdout
  if (fileDescriptor === 2) return process.stderr
  throw invalid(`Unknown file descriptor: ${fileDescriptor}`)
}
