import { AppError } from '../../errors.js'
import type { Log } from '../../lib/log.js'
import type { Account } from '../../schemas/account.js'
import type { Changes, Commit, Difference } from '../../schemas/changes.js'
import type { SandboxService } from '../sandboxes/service.js'
import { checkPath, gitCommand, gitError, outputBytes, type GitCommand } from './script.js'
import { parseStatus, unexpected } from './status.js'

/** For one command of git's. */
const timeoutMs = 60_000
const noRepository = { 40: 'no_git', 41: 'none' } as const

/** Which account's sandbox, and a signal that aborts when the client has gone. */
interface ChangesAccess {
  account: Account
  id: string
  log: Log
  signal: AbortSignal
}

/** The changes in a sandbox's git repository: to be looked at, staged and committed. Git runs in the sandbox. */
export class ChangesService {
  readonly #sandboxes: SandboxService

  constructor (sandboxes: SandboxService) {
    this.#sandboxes = sandboxes
  }

  /** What git says of the repository that the workdir is in, if there is one. @throws {AppError} GIT_FAILED. */
  async status (access: ChangesAccess): Promise<Changes> {
    const { exitCode, stdout, stderr, bytes } = await this.#run(access, { action: 'status' })
    if (exitCode === 40 || exitCode === 41) return { repository: false, reason: noRepository[exitCode] }
    if (exitCode !== 0) throw gitError(exitCode, stderr)
    return parseStatus(stdout, { cut: bytes.stdout >= outputBytes })
  }

  /**
   * How one file has changed: since the commit what is staged of it, and otherwise since it was staged.
   * @param from its earlier path, if it was renamed. @throws {AppError} FILE_NOT_FOUND, NO_REPOSITORY, GIT_FAILED.
   */
  async difference (
    access: ChangesAccess, path: string, { staged = false, from }: { staged?: boolean, from?: string } = {}
  ): Promise<Difference> {
    const paths = [checkPath('querystring.path', path), ...from === undefined ? [] : [checkPath('querystring.from', from)]]
    const { stdout, bytes } = await this.#succeed(access, {
      action: 'diff', words: [staged ? 'staged' : 'unstaged', ...paths]
    })
    const truncated = bytes.stdout >= outputBytes
    // No line is shown as shorter than it is.
    const diff = truncated ? stdout.slice(0, stdout.lastIndexOf('\n') + 1) : stdout
    return { path, staged, diff, binary: /^Binary files .* differ$/m.test(diff.slice(0, 10_000)), truncated }
  }

  /** The files as they are now are in the next commit. @throws {AppError} NO_REPOSITORY, GIT_FAILED. */
  async stage (access: ChangesAccess, paths: string[]): Promise<void> {
    await this.#succeed(access, { action: 'stage' }, listed(paths))
  }

  /** Their changes are not in the next commit; the files stay as they are. @throws {AppError} as {@link stage}. */
  async unstage (access: ChangesAccess, paths: string[]): Promise<void> {
    await this.#succeed(access, { action: 'unstage' }, listed(paths))
  }

  /** Commits what is staged. @throws {AppError} NOTHING_STAGED, NO_REPOSITORY, GIT_FAILED. */
  async commit (access: ChangesAccess, message: string): Promise<Commit> {
    if (message.trim() === '') throw new AppError('BAD_REQUEST', { message: 'body.message is empty' })
    const { stdout } = await this.#succeed(access, { action: 'commit' }, message)
    const [, commit] = /^([0-9a-f]{40,64})\n$/.exec(stdout) ?? []
    if (commit === undefined) throw unexpected()
    return { commit }
  }

  /** Switches to a branch, or to a new one that begins here. @throws {AppError} NO_REPOSITORY, GIT_FAILED. */
  async switchTo (access: ChangesAccess, name: string, { create = false } = {}): Promise<void> {
    await this.#succeed(access, { action: 'branch', words: [name, create ? 'create' : 'switch'] })
  }

  async #succeed (access: ChangesAccess, command: GitCommand, stdin?: string) {
    const result = await this.#run(access, command, stdin)
    if (result.exitCode !== 0) throw gitError(result.exitCode, result.stderr)
    return result
  }

  async #run ({ account, id, log, signal }: ChangesAccess, command: GitCommand, stdin = '') {
    const owned = await this.#sandboxes.find(account, id)
    const exec = await this.#sandboxes.execIn(account, owned, {
      command: gitCommand(owned, command), workdir: '/', encoding: 'utf8', stdin, timeoutMs
    }, log)
    const result = await exec.collect(signal)
    if (result.timedOut) throw new AppError('MODAL_TIMEOUT', { step: 'changes' })
    return result
  }
}

/** Paths as git reads them from its input. */
function listed (paths: string[]): string {
  return paths.map((path, index) => `${checkPath(`body.paths/${index}`, path)}\0`).join('')
}
