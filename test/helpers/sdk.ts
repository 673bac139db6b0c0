import type { App, ContainerProcess, Image, ModalClient, Sandbox, SandboxCreateParams, SandboxExecParams } from 'modal'

/** Runs a command to its end and reads all it says. */
export async function run (sandbox: Sandbox, command: string[], params: Omit<SandboxExecParams, 'mode'> = {}) {
  const process = await sandbox.exec(command, { ...params, mode: 'text' }) as ContainerProcess<string>
  const [stdout, stderr, code] = await Promise.all([
    process.stdout.readText(), process.stderr.readText(), process.wait()
  ])
  return { stdout, stderr, code }
}

/** Writes to the standard input of a process and closes it. */
export async function send (process: { stdin: WritableStream }, chunks: Iterable<Uint8Array | string>): Promise<void> {
  const writer = process.stdin.getWriter()
  for (const chunk of chunks) await writer.write(chunk)
  await writer.close()
}

/** The first piece of a stream; the rest is left unread. */
export async function firstText (stream: ReadableStream<string>): Promise<string | undefined> {
  const reader = stream.getReader()
  const { value } = await reader.read()
  reader.releaseLock()
  return value
}

export async function ids (sandboxes: AsyncIterable<Sandbox>): Promise<string[]> {
  const found = []
  for await (const { sandboxId } of sandboxes) found.push(sandboxId)
  return found
}

export type Create = (params?: SandboxCreateParams, image?: Image) => Promise<Sandbox>

/** Creates sandboxes of one app and image. */
export function creator (modal: ModalClient, app: App, image: Image): Create {
  return (params = {}, other = image) => modal.sandboxes.create(app, other, params)
}
