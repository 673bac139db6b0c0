import { getJson, paths } from '../lib/api.js'

/** How often a quiet sandbox is asked whether it is still there, and how often a service that does not answer. */
const every = 30_000
const everyWhenLost = 3000

/** Looks after a sandbox while no run does: whether it is still there, and whether the service can be reached. */
export class Watch {
  #timer
  #look = () => { if (document.visibilityState === 'visible') this.look() }

  /** @param {{busy: () => boolean, onEnded: () => void, onConnection: (state: string) => void}} options */
  constructor (sandboxId, { busy, onEnded, onConnection }) {
    Object.assign(this, { sandboxId, busy, onEnded, onConnection })
  }

  start () {
    for (const [target, kind] of this.#reasons) target.addEventListener(kind, this.#look)
    this.#wait(every)
  }

  stop () {
    for (const [target, kind] of this.#reasons) target.removeEventListener(kind, this.#look)
    this.#wait(undefined)
  }

  /** A failed look says nothing about the sandbox: the next one may. */
  async look () {
    if (this.busy()) return
    const sandbox = await getJson(paths.sandbox(this.sandboxId)).catch((error) => error)
    if (this.busy()) return
    const lost = sandbox.code === 'OFFLINE'
    this.onConnection(lost ? 'reconnecting' : 'connected')
    if (sandbox.sandboxEnded || (sandbox.status && sandbox.status !== 'running')) return this.onEnded()
    if (this.#timer !== undefined) this.#wait(lost ? everyWhenLost : every)
  }

  get #reasons () {
    return [[document, 'visibilitychange'], [window, 'online'], [window, 'offline']]
  }

  #wait (ms) {
    clearTimeout(this.#timer)
    this.#timer = ms === undefined ? undefined : setTimeout(() => this.look(), ms)
  }
}
