import { paths, send } from '../lib/api.js'
import { focusInput, h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { words } from '../lib/words.js'
import { notice } from './notice.js'

/** Exchanges a credential for the session cookie, which scripts cannot read. */
export async function signIn (credential) {
  await send('POST', paths.session, { json: { credential } })
}

/** The form for an API key. `problem` is why the link or the previous session is not valid. */
export class SignInView {
  #input = h('input', {
    id: 'credential', type: 'password', required: true, autocomplete: 'current-password', spellcheck: 'false', autocapitalize: 'off'
  })

  #button = h('button', { type: 'submit', class: 'button primary' }, words.signIn.title)
  #problem = h('div')

  constructor ({ local, problem, onSignedIn }) {
    this.onSignedIn = onSignedIn
    if (problem) this.#problem.append(notice(problem))
    this.element = h('section', { class: 'card narrow', 'aria-labelledby': 'sign-in-title' },
      h('span', { class: 'hero' }, icon('box')),
      h('h1', { id: 'sign-in-title', tabindex: '-1' }, words.signIn.title),
      h('p', { class: 'muted' }, local
        ? words.signIn.localAbout
        : words.signIn.about),
      this.#problem,
      h('form', { class: 'stack', onsubmit: (event) => this.#submit(event) },
        h('label', { for: 'credential' }, words.signIn.key), this.#input, this.#button))
  }

  shown () {
    focusInput(this.#input)
  }

  async #submit (event) {
    event.preventDefault()
    this.#button.disabled = true
    this.#problem.replaceChildren()
    try {
      await signIn(this.#input.value.trim())
      await this.onSignedIn()
    } catch (error) {
      this.#problem.replaceChildren(notice({ ...error, message: error.message, hint: words.signIn.checkHint }))
      this.#input.select()
    } finally {
      this.#button.disabled = false
    }
  }
}
