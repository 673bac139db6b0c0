import type { Log } from '../log.js'
import { commitError, isFull, type CommitFailure } from './commit-error.js'
import type { MountedVolume } from './mounted.js'

/** Modal commits volumes in the background every few seconds; so does this. */
const intervalMs = 5000
/** A commit that fails will probably fail again, and each one takes time. */
const longestPauseMs = 60_000
const toldFiles = 10

interface CommitsOptions { volumes: MountedVolume[], container: string, log: Pick<Log, 'warn'> }

/** The commits of one container's volumes: in the background, when asked for, and at the end. */
export class VolumeCommits {
  readonly #options: CommitsOptions
  #timer: NodeJS.Timeout | undefined
  #isOver = false
  /** What is logged once: the failures of the last commit. */
  #told = ''

  constructor (options: CommitsOptions) {
    this.#options = options
    if (options.volumes.length > 0) this.#later(intervalMs)
  }

  /**
   * Merges the container's writes into the committed states. Files that can't be read are logged, and hold up nothing.
   * @throws {ContainerError} when a volume could not be committed, or lacks the space for all of it
   */
  async commit (): Promise<void> {
    await this.#commit(false, 'which is tried again')
  }

  /**
   * The last commit, when nothing writes any more.
   * @param ended whether that is certain. @throws {ContainerError} as {@link commit}
   */
  async final (ended: boolean): Promise<void> {
    this.stop()
    await this.#commit(ended, 'so the sandbox is kept, without its processes, until that is possible')
  }

  /** Ends the background commits. */
  stop (): void {
    this.#isOver = true
    clearTimeout(this.#timer)
  }

  /** Pauses at least as long as the commit took: commits use half the time at most. */
  #later (pause: number): void {
    this.#timer = setTimeout(async () => {
      const start = performance.now()
      const failed = await this.commit().then(() => false, () => true)
      const next = failed ? Math.min(2 * pause, longestPauseMs) : intervalMs
      if (!this.#isOver) this.#later(Math.max(next, performance.now() - start))
    }, pause).unref()
  }

  async #commit (ended: boolean, consequence: string): Promise<void> {
    const failed: CommitFailure[] = []
    for (const volume of this.#options.volumes) {
      try {
        const failures = await volume.commit(ended)
        if (failures.length > 0) failed.push({ path: volume.path, failures })
      } catch (cause) {
        failed.push({ path: volume.path, failures: [], cause })
      }
    }
    this.#tell(failed)
    const lost = failed.filter((one) => one.cause !== undefined || isFull(one))
    if (lost.length > 0) throw commitError(lost, consequence)
  }

  /** Once for each change: while a disk is full, the same is found every few seconds. */
  #tell (failed: CommitFailure[]): void {
    const { container, log } = this.#options
    const told = failed.map(({ path, failures, cause }) => [path, ...failures, (cause as Error | undefined)?.message].join('\n')).join('\n')
    if (told === this.#told) return
    this.#told = told
    if (failed.length === 0) return log.warn({ container }, 'emulator: what could not be committed before is committed now')
    const files = failed.flatMap(({ failures }) => failures)
    const err = failed.find(({ cause }) => cause !== undefined)?.cause
    log.warn({ container, files: files.slice(0, toldFiles), count: files.length, ...(err !== undefined && { err }) },
      'emulator: files on a volume could not be committed')
  }
}
