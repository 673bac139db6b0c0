import { posix } from 'node:path'
import { objectId } from '../control/ids.js'
import { invalid, notFound, unimplemented } from '../control/status.js'
import { runTool, WatchedPath } from '../sandboxes/file-tools.js'
import { FileError, OpenFile } from '../sandboxes/open-file.js'
import type { SandboxRegistry } from '../sandboxes/registry.js'
import type { Sandbox } from '../sandboxes/sandbox.js'
import type { Handlers } from './adapter.js'

interface FileMessage { fileDescriptor: string }

/** One of the requests is set. */
interface ExecMessage {
  taskId: string
  fileOpenRequest: { path: string, mode: string } | null
  fileReadRequest: FileMessage & { n?: number } | null
  fileReadLineRequest: FileMessage | null
  fileWriteRequest: FileMessage & { data: Buffer } | null
  fileFlushRequest: FileMessage | null
  fileSeekRequest: FileMessage & { offset: number, whence: number } | null
  fileCloseRequest: FileMessage | null
  fileLsRequest: { path: string } | null
  fileMkdirRequest: { path: string, makeParents: boolean } | null
  fileRmRequest: { path: string, recursive: boolean } | null
  fileWatchRequest: { path: string, recursive: boolean, timeoutSecs?: number } | null
  fileDeleteBytesRequest: FileMessage | null
  fileWriteReplaceBytesRequest: FileMessage | null
}

interface OutputMessage { execId: string, timeout: number }

/** What an operation has to say. Each reader gets what none before it got, as the SDKs put the pieces together. */
interface Output {
  rest (signal: AbortSignal): AsyncIterable<Buffer>
  discard? (): Promise<void>
}

const chunkBytes = 1024 * 1024
/** Of one sandbox; each has a program of its own. */
const maxOpenFiles = 64
const tooManyOpenFiles = 24
/** How long output waits for a reader. */
const keepMs = 10 * 60_000

/** Files of a sandbox as older SDKs use them (`sandbox.open`): through the control plane, an operation at a time. */
export function fileHandlers (registry: SandboxRegistry): Handlers {
  const outputs = new Map<string, Output>()
  const openFiles = new WeakMap<Sandbox, Map<string, Promise<OpenFile>>>()

  return {
    unary: {
      async ContainerFilesystemExec (request: ExecMessage) {
        const sandbox = registry.byTask(request.taskId)
        if (!sandbox.running) throw notFound(`Sandbox ${sandbox.id} has already finished`)
        const { fileOpenRequest: open, fileWatchRequest: watched } = request
        if (open) return openFile(sandbox, open)
        if (watched) return await watch(sandbox, watched)
        return keep(new Result(sandbox.lifetime.track(operationOf(sandbox, request)())))
      }
    },

    serverStream: {
      async * ContainerFilesystemExecGetOutput ({ execId, timeout }: OutputMessage, { signal }) {
        const output = outputs.get(execId)
        if (!output) throw notFound(`Exec with ID ${execId} not found`)
        const stop = AbortSignal.any([signal, AbortSignal.timeout(Math.max(timeout, 1) * 1000)])
        try {
          for await (const data of output.rest(stop)) yield { output: [data] }
        } catch (error) {
          // Whoever still waits asks again.
          if (stop.aborted) return
          // Without an end behind it, which would count more.
          yield { error: systemError(error) }
          return
        }
        if (stop.aborted) return
        yield { eof: true }
        forget(execId)
      }
    }
  }

  function keep (output: Output): { execId: string } {
    const execId = objectId('fe')
    outputs.set(execId, output)
    setTimeout(() => { forget(execId) }, keepMs).unref()
    return { execId }
  }

  function forget (execId: string): void {
    outputs.get(execId)?.discard?.().catch(() => {})
    outputs.delete(execId)
  }

  /** It has a descriptor at once; whether it could be opened is told by the output. */
  function openFile (sandbox: Sandbox, { path, mode }: { path: string, mode: string }) {
    const fileDescriptor = objectId('fd')
    const file = filesOf(sandbox).size < maxOpenFiles
      ? sandbox.started.then((container) => OpenFile.open(container, absolute(sandbox, path), mode))
      : Promise.reject(new FileError(tooManyOpenFiles, 'too many open files'))
    filesOf(sandbox).set(fileDescriptor, file)
    file.catch(() => { filesOf(sandbox).delete(fileDescriptor) })
    return { ...keep(new Result(sandbox.lifetime.track(file.then(() => Buffer.alloc(0))))), fileDescriptor }
  }

  async function watch (sandbox: Sandbox, request: NonNullable<ExecMessage['fileWatchRequest']>) {
    const path = absolute(sandbox, request.path)
    const watched = await WatchedPath.start(await sandbox.started, { ...request, path })
    sandbox.lifetime.track(watched.ended).catch(() => {})
    return keep(watched)
  }

  /** @throws {StatusError} INVALID_ARGUMENT, UNIMPLEMENTED */
  function operationOf (sandbox: Sandbox, request: ExecMessage): () => Promise<Buffer> {
    const { fileReadRequest: read, fileReadLineRequest: line, fileWriteRequest: write } = request
    const { fileFlushRequest: flush, fileSeekRequest: seek, fileCloseRequest: close } = request
    const { fileLsRequest: list, fileMkdirRequest: make, fileRmRequest: remove } = request
    const file = ({ fileDescriptor }: FileMessage) => byDescriptor(sandbox, fileDescriptor)
    const tool = async (name: string, path: string, more = {}) =>
      await runTool(await sandbox.started, { [name]: { path: absolute(sandbox, path), ...more } })

    if (read) return async () => await (await file(read)).call({ operation: 'read', n: read.n })
    if (line) return async () => await (await file(line)).call({ operation: 'readLine' })
    if (write) return async () => await (await file(write)).call({ operation: 'write' }, write.data)
    if (flush) return async () => await (await file(flush)).call({ operation: 'flush' })
    if (seek) return async () => await (await file(seek)).call({ operation: 'seek', offset: seek.offset, whence: seek.whence })
    if (close) return async () => await closeFile(sandbox, close)
    if (list) return async () => pathsOf(await tool('ListFiles', list.path))
    if (make) return async () => await tool('MakeDirectory', make.path, { parents: make.makeParents })
    if (remove) return async () => await tool('Remove', remove.path, { recursive: remove.recursive })
    if (request.fileDeleteBytesRequest ?? request.fileWriteReplaceBytesRequest) {
      throw unimplemented('replacing and deleting bytes of a file, which Modal\'s own SDKs have given up')
    }
    throw invalid('No file operation is asked for')
  }

  async function closeFile (sandbox: Sandbox, { fileDescriptor }: FileMessage): Promise<Buffer> {
    const file = await byDescriptor(sandbox, fileDescriptor)
    filesOf(sandbox).delete(fileDescriptor)
    return await file.call({ operation: 'close' })
  }

  async function byDescriptor (sandbox: Sandbox, fileDescriptor: string): Promise<OpenFile> {
    const file = await filesOf(sandbox).get(fileDescriptor)
    if (file) return file
    throw new FileError(0, `no file is open as ${fileDescriptor}`)
  }

  function filesOf (sandbox: Sandbox): Map<string, Promise<OpenFile>> {
    const files = openFiles.get(sandbox) ?? new Map()
    openFiles.set(sandbox, files)
    return files
  }
}

class Result implements Output {
  readonly #bytes: Promise<Buffer>
  #read = 0

  constructor (bytes: Promise<Buffer>) {
    this.#bytes = bytes
    bytes.catch(() => {})
  }

  async * rest (signal: AbortSignal): AsyncIterable<Buffer> {
    const bytes = await Promise.race([this.#bytes, aborted(signal)])
    while (this.#read < bytes.length && !signal.aborted) {
      const part = bytes.subarray(this.#read, this.#read + chunkBytes)
      this.#read += part.length
      yield part
    }
  }
}

function aborted (signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason)
    signal.addEventListener('abort', () => { reject(signal.reason) }, { once: true })
  })
}

/** What is relative is so to the sandbox's working directory. */
function absolute ({ info: { definition, image } }: Sandbox, path: string): string {
  return posix.resolve(definition.workdir ?? image.workdir ?? '/', path)
}

function pathsOf (entries: Buffer): Buffer {
  const paths = JSON.parse(entries.toString()).map(({ name }: { name: string }) => name)
  return Buffer.from(JSON.stringify({ paths }))
}

function systemError (error: unknown): { errorCode: number, errorMessage: string } {
  return { errorCode: error instanceof FileError ? error.errno : 0, errorMessage: (error as Error).message }
}
