import { maxTimerMs } from '../lib/timers.js'

/**
 * The two deadlines of a sandbox. It is idle while no exec runs and nobody writes to a standard input; as on Modal,
 * the entrypoint itself does not count.
 */
export class Lifetime {
  readonly #timeoutSeconds: number
  readonly #idleSeconds: number | undefined
  readonly #expire: (reason: 'timeout' | 'idle') => Promise<void>
  #timeout: NodeJS.Timeout | undefined
  #idle: NodeJS.Timeout | undefined
  #busy = 0
  #ended = false

  constructor (timeout: number, idle: number | undefined, expire: (reason: 'timeout' | 'idle') => Promise<void>) {
    this.#timeoutSeconds = timeout
    this.#idleSeconds = idle
    this.#expire = expire
  }

  begin (): void {
    this.#timeout = this.#after(this.#timeoutSeconds, 'timeout')
    this.#armIdle()
  }

  end (): void {
    this.#ended = true
    clearTimeout(this.#timeout)
    clearTimeout(this.#idle)
  }

  /** Counts the sandbox as busy until `activity` settles. Returns the same promise. */
  track<T>(activity: Promise<T>): Promise<T> {
    this.#busy++
    clearTimeout(this.#idle)
    const done = () => {
      this.#busy--
      this.#armIdle()
    }
    activity.then(done, done)
    return activity
  }

  #armIdle (): void {
    clearTimeout(this.#idle)
    if (this.#ended || this.#busy > 0 || this.#idleSeconds === undefined) return
    this.#idle = this.#after(this.#idleSeconds, 'idle')
  }

  #after (seconds: number, reason: 'timeout' | 'idle'): NodeJS.Timeout {
    // The container layer logs a stop that fails; the sandbox then ends with its process.
    return setTimeout(() => { this.#expire(reason).catch(() => {}) }, Math.min(seconds * 1000, maxTimerMs))
  }
}
