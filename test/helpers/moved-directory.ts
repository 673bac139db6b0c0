import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { LocalWorkspace } from '../../services/sync/local-workspace.js'
import { writeBy } from '../../services/sync/moved-files.js'
import { Mover, type Starter } from '../../services/sync/mover.js'
import type { WriteEntry } from '../../services/sync/workspace.js'

/** A directory of this machine whose bodies are moved as those of a sandbox are, by the same program. */
export class MovedDirectory extends LocalWorkspace {
  readonly #root: string
  #mover: Mover | undefined
  pid = 0

  constructor (root: string) {
    super(root)
    this.#root = root
  }

  async mover (origin: string): Promise<Mover | undefined> {
    const start: Starter = async (command, { stdin }) => {
      const child = spawn(command[0]!, command.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] })
      this.pid = child.pid!
      const exit = once(child, 'exit')
      child.stdin.on('error', () => {})
      const feed = async () => {
        for await (const chunk of stdin as AsyncIterable<Uint8Array>) {
          if (!child.stdin.write(chunk)) await Promise.race([once(child.stdin, 'drain'), exit])
        }
        child.stdin.end()
      }
      return {
        stdout: child.stdout,
        fed: feed(),
        finish: async () => { const [exitCode] = await exit; return { exitCode: exitCode as number, stderr: '' } },
        cancel: () => { child.kill('SIGKILL') }
      }
    }
    this.#mover ??= await Mover.open(start, this.#root, origin)
    return this.#mover
  }

  async withoutMover (): Promise<void> {
    await this.#mover?.close()
    this.#mover = undefined
  }

  override async write (entries: AsyncIterable<WriteEntry>): Promise<string> {
    return this.#mover === undefined ? await super.write(entries) : await writeBy(this.#mover, entries)
  }
}
