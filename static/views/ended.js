import { h } from '../lib/dom.js'
import { getJson, paths } from '../lib/api.js'
import { icon } from '../lib/icons.js'
import { chatHash } from '../lib/routes.js'
import { listRunning } from '../lib/sandboxes.js'
import { words } from '../lib/words.js'
import { Known, workspaceOf } from '../rail/known.js'
import { button } from './notice.js'
import { sameWorkspace } from './specs.js'

/** In the place of a chat whose sandbox has ended: what is left of it, and how to go on (7.8). */
export class EndedView {
  #actions = h('div', { class: 'actions' })

  /**
   * @param {{id: string, sandbox?: object, place?: string, error?: object, account: string, newSandbox: Function,
   *   onBack: () => void}} options the sandbox as the service still knows it, and what it says if it does not
   */
  constructor ({ id, sandbox, place, error, account, newSandbox, onBack }) {
    const known = place === undefined ? undefined : new Known(account).find(id, place)
    // Only what this browser has seen itself can be told of a sandbox that Modal has forgotten.
    this.sandboxOf = sandbox ?? (known?.sandbox.id === id ? known.sandbox : undefined)
    this.place = place === 'new' ? undefined : place
    this.title = known?.title ?? words.ended.title
    this.current = { sandbox: { id }, sessionId: this.place, ended: true }
    const { text, spec } = this.#left(error)
    this.element = h('section', { class: 'card narrow' },
      h('span', { class: 'hero' }, icon('box')),
      h('h1', { tabindex: '-1', dir: 'auto' }, known?.title || words.ended.heading),
      known?.title && h('p', {}, words.ended.ofConversation),
      h('p', { class: 'muted' }, text),
      this.#actions)
    this.#actions.append(
      button(this.#newLabel(spec), () => newSandbox(spec, spec && this.place), { kind: 'primary', symbol: 'plus' }),
      button(words.common.allSandboxes, onBack))
    if (spec) this.#offerRunning()
  }

  shown () {
    this.element.querySelector('h1').focus()
  }

  #newLabel (spec) {
    if (spec === undefined) return words.common.newSandbox
    return this.place ? words.ended.continueInNew : words.common.newSandboxSameWorkspace
  }

  /** @returns {{text: string, spec?: object}} what is left, and the options of a sandbox that has it */
  #left (error) {
    const sandbox = this.sandboxOf
    if (sandbox === undefined) {
      return { text: error?.hint ?? words.ended.unknown }
    }
    const { volume, s3 } = sandbox
    if (workspaceOf(sandbox) !== sandbox.id) {
      return { text: words.ended.onVolume(volume.name), spec: sameWorkspace(sandbox) }
    }
    if (s3) return { text: words.ended.inS3, spec: sameWorkspace(sandbox) }
    return { text: volume ? words.ended.readOnlyVolume(volume.name) : words.ended.noVolume }
  }

  /** Another sandbox may have the same workspace. */
  async #offerRunning () {
    const running = await listRunning().catch(() => [])
    for (const other of running.filter((one) => workspaceOf(one) === workspaceOf(this.sandboxOf))) {
      const { sessions } = await getJson(paths.sessions(other.id)).catch(() => ({ sessions: [] }))
      const isThere = this.place === undefined || sessions.some(({ sessionId }) => sessionId === this.place)
      if (!isThere) continue
      const [create] = this.#actions.children
      create.classList.remove('primary')
      create.before(h('a', { class: 'button primary', href: chatHash(other.id, this.place) }, words.ended.openRunning))
      return
    }
  }
}
