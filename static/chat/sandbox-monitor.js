import { ApiError, getJson, paths } from '../lib/api.js'
import { onNews } from '../lib/news.js'
import { openEvents } from '../lib/sse.js'

const retryMs = 3000
/** When the service has no stream for this page. */
const busyRetryMs = 30_000

/**
 * While the chat is shown, the service says what becomes of its sandbox: that it has ended, and that somebody else has
 * started a run in it. While a run is followed, its own stream tells more.
 */
export class SandboxMonitor {
  #following
  #onVisible = () => { if (document.visibilityState === 'visible') this.#follow(); else this.#stop() }
  #onLine = () => this.#follow()
  #onOffLine = () => this.check()
  #stopNews

  /**
   * @param {{busy: () => boolean, onEnded: () => void, onConnection: (state: string) => void,
   *   onSandbox: (sandbox: object) => void}} options
   */
  constructor (sandboxId, { busy, onEnded, onConnection, onSandbox }) {
    Object.assign(this, { sandboxId, busy, onEnded, onConnection, onSandbox })
  }

  start () {
    document.addEventListener('visibilitychange', this.#onVisible)
    window.addEventListener('online', this.#onLine)
    window.addEventListener('offline', this.#onOffLine)
    // Another tab may be served by another replica than this one, which would tell later.
    const kinds = ['state', 'ended']
    this.#stopNews = onNews(({ kind, sandboxId }) => {
      if (kinds.includes(kind) && sandboxId === this.sandboxId) this.check()
    })
    this.#onVisible()
  }

  stop () {
    document.removeEventListener('visibilitychange', this.#onVisible)
    window.removeEventListener('online', this.#onLine)
    window.removeEventListener('offline', this.#onOffLine)
    this.#stopNews?.()
    this.#stop()
  }

  /** Asks once. A failed request says nothing about the sandbox; the next may. */
  async check () {
    if (this.busy()) return
    const answer = await getJson(paths.sandbox(this.sandboxId)).catch((error) => error)
    if (answer instanceof ApiError) this.#fail(answer)
    else this.#tell(answer)
  }

  #stop () {
    this.#following?.abort()
    this.#following = undefined
  }

  async #follow () {
    this.#stop()
    const { signal } = this.#following = new AbortController()
    while (!signal.aborted) {
      let delayMs = retryMs
      try {
        const onOpen = () => { if (!this.busy()) this.onConnection('connected') }
        for await (const { event, data } of openEvents('GET', paths.sandbox(this.sandboxId), { signal, onOpen })) {
          if (event === 'sandbox') this.#tell(data)
          else if (event === 'error') throw new ApiError(data, data.statusCode)
        }
        delayMs = retryMs / 10
      } catch (error) {
        if (signal.aborted) return
        this.#fail(error)
        if (error.code !== 'OFFLINE') delayMs = busyRetryMs
      }
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, delayMs)
        signal.addEventListener('abort', () => { clearTimeout(timer); resolve() }, { once: true })
      })
    }
  }

  #tell (sandbox) {
    if (this.busy()) return
    this.onConnection('connected')
    if (sandbox.status === 'running') return this.onSandbox(sandbox)
    this.#stop()
    this.onEnded()
  }

  #fail (error) {
    if (this.busy()) return
    this.onConnection(error.code === 'OFFLINE' ? 'reconnecting' : 'connected')
    if (!error.sandboxEnded) return
    this.#stop()
    this.onEnded()
  }
}
