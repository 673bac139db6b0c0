import { focusInput, h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { tabStorage } from '../lib/storage.js'
import { words } from '../lib/words.js'
import { Attachments } from './attachments.js'
import { mention } from './mention.js'
import { PromptHistory } from './prompt-history.js'

/**
 * The prompt's input. Enter sends and Shift+Enter inserts a line break; Enter in an input method does neither.
 * Each conversation has its draft, which survives a reload. While Claude is working and the input is empty, the button
 * stops the run.
 */
export class Composer {
  #input = h('textarea', {
    id: 'prompt', rows: '1', placeholder: words.composer.ask, autocomplete: 'off', enterkeyhint: 'send', dir: 'auto'
  })

  #button = h('button', { type: 'submit', class: 'send' })
  #attachments
  #busy = false
  /** The conversation whose draft is in the input; undefined until it is known. */
  #draft
  /** Pictures of drafts in other conversations. */
  #pictures = new Map()
  /** What was attached before an earlier prompt was edited. */
  #draftPictures = []
  #history
  #sandboxId
  #commands
  /** The list of what may be meant, loaded when it is first needed. */
  #suggestions

  /** @param {{prompts: () => string[], commands: () => string[] | undefined}} options those that are not obvious */
  constructor (sandboxId, { onSend, onStop, onFiles, options, prompts, commands }) {
    this.#attachments = new Attachments({ onChange: () => this.#update(), onFiles })
    this.#history = new PromptHistory(this.#input, prompts)
    this.#sandboxId = sandboxId
    this.#commands = commands
    this.onSend = onSend
    this.onStop = onStop
    this.element = h('form', { class: 'composer', onsubmit: (event) => this.#submit(event) },
      h('label', { for: 'prompt', class: 'visually-hidden' }, words.composer.prompt),
      this.#attachments.element,
      this.#input,
      h('div', { class: 'composer-row' }, options, this.#attachments.button, this.#button))
    this.#input.addEventListener('input', () => {
      this.#resize()
      this.#suggest()
    })
    this.#input.addEventListener('keydown', (event) => this.#onKeydown(event))
    this.#input.addEventListener('paste', (event) => this.#attachments.paste(event))
    this.#update()
  }

  setBusy (busy) {
    this.#busy = busy
    this.#input.placeholder = busy ? words.composer.followUp : words.composer.ask
    this.#update()
  }

  /** Shows the draft of a conversation, in the place of another's. */
  open (conversation) {
    this.#pictures.set(this.#draft, this.#attachments.take())
    this.#draft = conversation
    this.#input.value = conversation === undefined ? '' : tabStorage.read(`draft.${conversation}`, '')
    this.#attachments.put(this.#pictures.get(conversation) ?? [])
    this.#history.reset()
    this.#suggestions?.close()
    this.#resize()
  }

  /** What is in the input belongs to this conversation, as is now known; if there is nothing, its draft is shown. */
  move (conversation) {
    if (conversation === this.#draft) return
    if (this.empty) return this.open(conversation)
    if (this.#draft !== undefined) tabStorage.write(`draft.${this.#draft}`, undefined)
    this.#draft = conversation
    this.#resize()
  }

  focus () {
    focusInput(this.#input)
    if (this.#input.value !== '') this.#resize()
  }

  /** Puts back a prompt that was not accepted, unless the user has typed something else since. */
  restore (text, pictures = []) {
    if (!this.empty) return
    this.#input.value = text
    this.#attachments.put(pictures)
    this.#resize()
  }

  /** Takes an earlier prompt to be changed and sent again. */
  edit (prompt, pictures) {
    this.#history.recall(prompt)
    this.#draftPictures = this.#attachments.take()
    this.#attachments.put(pictures.length > 0 ? pictures : this.#draftPictures)
    // Somebody has asked for the input, also on a touch screen.
    this.#input.focus()
  }

  /** Puts the draft back that was there before. */
  cancelEdit () {
    this.#history.cancel()
    this.#attachments.put(this.#draftPictures)
    this.focus()
  }

  /** Adds mentions of files or folders of the workspace. */
  mention (names) {
    const before = this.#input.value
    this.#input.value = `${before}${before === '' || /\s$/.test(before) ? '' : ' '}${names.map(mention).join(' ')} `
    this.#resize()
    this.focus()
  }

  /** Without the list, if it cannot be loaded, a prompt is written as before. */
  async #suggest () {
    if (this.#suggestions === undefined) {
      if (!/^\/|(^|\s)@/.test(this.#input.value)) return
      const parts = await Promise.all([import('./suggestions.js'), import('./suggestion-sources.js')]).catch(() => undefined)
      if (parts === undefined) return
      const [{ Suggestions }, { commandSource, fileSource }] = parts
      this.#suggestions ??= new Suggestions(this.#input, [commandSource(this.#commands), fileSource(this.#sandboxId)])
    }
    await this.#suggestions.update()
  }

  #onKeydown (event) {
    if (this.#suggestions?.onKeydown(event) || this.#history.onKeydown(event)) return
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return
    event.preventDefault()
    this.#send()
  }

  #submit (event) {
    event.preventDefault()
    if (this.#stops) this.onStop()
    else this.#send()
  }

  get #stops () {
    return this.#busy && this.empty
  }

  get empty () {
    return this.#input.value.trim() === '' && this.#attachments.empty
  }

  #send () {
    const text = this.#input.value
    if (this.empty || this.#attachments.reading > 0) return
    this.#input.value = ''
    this.#history.reset()
    this.#suggestions?.close()
    this.#resize()
    this.onSend(text, this.#attachments.take())
  }

  #resize () {
    if (this.#draft !== undefined) tabStorage.write(`draft.${this.#draft}`, this.#input.value || undefined)
    this.#input.style.height = 'auto'
    this.#input.style.height = `${this.#input.scrollHeight}px`
    this.#update()
  }

  #update () {
    // Without a text, whose direction it has, it says something in that of the page.
    this.#input.dir = this.#input.value === '' ? words.dir : 'auto'
    const { stop, queue, send } = words.composer
    const label = this.#stops ? stop : this.#busy ? queue : send
    if (this.#button.getAttribute('aria-label') !== label) {
      this.#button.replaceChildren(icon(this.#stops ? 'stop' : 'arrowUp'))
      this.#button.setAttribute('aria-label', label)
      this.#button.title = label
      this.#button.classList.toggle('stops', this.#stops)
    }
    this.#button.disabled = !this.#busy && this.empty
  }
}
