import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { AgentLauncher, type StartCommand } from '../../services/sync/transfer/agent.js'
import type { Entry } from '../../services/sync/workspace/workspace.js'
import { LocalWorkspace } from './local-workspace.js'

/** A directory of this machine, with a transfer agent as a sandbox has one. */
export class AgentDirectory extends LocalWorkspace {
  readonly agentLauncher: AgentLauncher
  /** Files that did not go through the agent. */
  streamed = 0
  #kill = () => {}

  /** @param node the program that is called `node` there. */
  constructor (root: string, node = process.execPath) {
    super(root)
    this.agentLauncher = new AgentLauncher(this.#startWith(node), root)
  }

  /** Kills the agent in the middle of what it does. */
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

  #startWith (node: string): StartCommand {
    return async ([shell, ...words], { stdin }) => {
      const args = words.map((word) => word.replace('exec node', `exec '${node}'`))
      const child = spawn(shell!, args, { stdio: ['pipe', 'pipe', 'ignore'] })
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
  }
}
