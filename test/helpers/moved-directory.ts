import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { TransferAgent, type StartCommand } from '../../services/sync/transfer/agent.js'
import type { Entry } from '../../services/sync/workspace/workspace.js'
import { LocalWorkspace } from './local-workspace.js'

/** A directory of this machine whose bodies are moved as those of a sandbox are, by the same program. */
export class MovedDirectory extends LocalWorkspace {
  readonly #root: string
  readonly #node: string
  #mover: TransferAgent | undefined
  #kill = () => {}
  /** Files that were read the other way. */
  streamed = 0

  /** @param node the program that is called by the name of `node` there. */
  constructor (root: string, node = process.execPath) {
    super(root)
    this.#root = root
    this.#node = node
  }

  /** Ends the program in the middle of what it does. */
  kill (): void {
    this.#kill()
  }

  override async * readMany (entries: Entry[]) {
    this.streamed += entries.filter(({ type }) => type === 'file').length
    yield * super.readMany(entries)
  }

  override async readLarge (entry: Entry) {
    this.streamed++
    return await super.readLarge(entry)
  }

  async agent (origin: string): Promise<TransferAgent | undefined> {
    const start: StartCommand = async (command, { stdin }) => {
      const child = spawn(command[0]!, command.slice(1).map((word) => word.replace('exec node', `exec '${this.#node}'`)), {
        stdio: ['pipe', 'pipe', 'ignore']
      })
      this.#kill = () => { child.kill('SIGKILL') }
      const exit = once(child, 'exit')
      child.stdin.on('error', () => {})
      const feed = async () => {
        for await (const chunk of stdin as AsyncIterable<Uint8Array>) {
          await new Promise<void>((resolve) => { child.stdin.write(chunk, () => resolve()) })
        }
        child.stdin.end()
      }
      return {
        stdout: child.stdout,
        written: feed(),
        finish: async () => { const [exitCode] = await exit; return { exitCode: exitCode as number, stderr: '' } },
        cancel: () => { child.kill('SIGKILL') }
      }
    }
    this.#mover ??= await TransferAgent.open(start, this.#root, origin)
    return this.#mover
  }

  async closeAgent (): Promise<void> {
    await this.#mover?.close()
    this.#mover = undefined
  }
}
