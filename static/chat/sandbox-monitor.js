import { getJson, paths } from '../lib/api.js'

const checkIntervalMs = 30_000
const offlineCheckIntervalMs = 3000

/** While no run is followed, checks whether the sandbox still exists and the service can be reached. */
export class SandboxMonitor {
  #timer
  #checkIfVisible = () => { if (document.visibilityState === 'visible') this.check() }

  /** @param {{busy: () => boolean, onEnded: () => void, onConnection: (state: string) => void}} options */
  constructor (sandboxId, { busy, onEnded, onConnection }) {
    Object.assign(this, { sandboxId, busy, onEnded, onConnection })
  }

  start () {
    for (const [target, kind] of this.#triggers) target.addEventListener(kind, this.#checkIfVisible)
    this.#schedule(checkIntervalMs)
  }

  stop () {
    for (const [target, kind] of this.#triggers) target.removeEventListener(kind, this.#checkIfVisible)
    this.#schedule(undefined)
  }

  /** A failed request says nothing about the sandbox; the next check may. */
  async check () {
    if (this.busy()) return
    const sandbox = await getJson(paths.sandbox(this.sandboxId)).catch((error) => error)
    if (this.busy()) return
    const offline = sandbox.code === 'OFFLINE'
    this.onConnection(offline ? 'reconnecting' : 'connected')
    if (sandbox.sandboxEnded || (sandbox.status && sandbox.status !== 'running')) return this.onEnded()
    if (this.#timer !== undefined) this.#schedule(offline ? offlineCheckIntervalMs : checkIntervalMs)
  }

  get #triggers () {
    return [[document, 'visibilitychange'], [window, 'online'], [window, 'offline']]
  }

  #schedule (delayMs) {
    clearTimeout(this.#timer)
    this.#timer = delayMs === undefined ? undefined : setTimeout(() => this.check(), delayMs)
  }
}
