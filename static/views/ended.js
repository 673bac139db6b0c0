import { h } from '../lib/dom.js'
import { getJson, paths } from '../lib/api.js'
import { icon } from '../lib/icons.js'
import { chatHash } from '../lib/routes.js'
import { listRunning } from '../lib/sandboxes.js'
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
    this.title = known?.title ?? 'Sandbox has ended'
    this.current = { sandbox: { id }, sessionId: this.place, ended: true }
    const { text, spec } = this.#left(error)
    this.element = h('section', { class: 'card narrow' },
      h('span', { class: 'hero' }, icon('box')),
      h('h1', { tabindex: '-1', dir: 'auto' }, known?.title || 'This sandbox has ended.'),
      known?.title && h('p', {}, 'The sandbox of this conversation has ended.'),
      h('p', { class: 'muted' }, text),
      this.#actions)
    this.#actions.append(
      button(spec && this.place ? 'Continue in a new sandbox' : spec ? 'New sandbox with this workspace' : 'New sandbox',
        () => newSandbox(spec, spec && this.place), { kind: 'primary', symbol: 'plus' }),
      button('All sandboxes', onBack))
    if (spec) this.#offerRunning()
  }

  shown () {
    this.element.querySelector('h1').focus()
  }

  /** @returns {{text: string, spec?: object}} what is left, and the options of a sandbox that has it */
  #left (error) {
    const sandbox = this.sandboxOf
    if (sandbox === undefined) {
      return { text: error?.hint ?? 'Nothing more is known of it. Files on a volume are still there for a new sandbox.' }
    }
    const { volume, s3 } = sandbox
    if (workspaceOf(sandbox) !== sandbox.id) {
      const text = `Its files and conversations are kept on the volume “${volume.name}”. A new sandbox with it goes on from there.`
      return { text, spec: sameWorkspace(sandbox) }
    }
    if (s3) {
      const text = 'A new sandbox gets what was last copied to S3, conversations, too.'
      return { text: `${text} What came later is lost.`, spec: sameWorkspace(sandbox) }
    }
    return {
      text: volume
        ? `The volume “${volume.name}” took no writes, so the conversation is gone with the sandbox: it cannot be continued.`
        : 'It had no volume, so its files and conversations are gone with it: they cannot be continued.'
    }
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
      create.before(h('a', { class: 'button primary', href: chatHash(other.id, this.place) }, 'Open it in the sandbox that is running'))
      return
    }
  }
}
