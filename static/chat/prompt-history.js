/** Goes through earlier prompts with the arrow keys, in the place of the draft, as a shell does. */
export class PromptHistory {
  #input
  #prompts
  /** Which of the prompts is shown; -1 is the draft. */
  #at = -1
  #draft = ''
  #shown

  /** @param {() => string[]} prompts newest first */
  constructor (input, prompts) {
    this.#input = input
    this.#prompts = prompts
  }

  /** @returns whether the key was one of the history's */
  onKeydown (event) {
    const step = { ArrowUp: 1, ArrowDown: -1 }[event.key]
    const modified = event.shiftKey || event.ctrlKey || event.metaKey || event.altKey
    if (step === undefined || modified || event.isComposing || !this.#leavesText(step)) return false
    const prompts = this.#prompts()
    const next = this.#at + step
    if (next < -1 || next >= prompts.length) return false
    event.preventDefault()
    if (this.#at === -1) this.#draft = this.#input.value
    this.#at = next
    this.#show(next === -1 ? this.#draft : prompts[next])
    return true
  }

  /** Shows an earlier prompt; the draft is where the arrow keys lead back to. */
  recall (prompt) {
    if (this.#at === -1) this.#draft = this.#input.value
    this.#at = Math.max(0, this.#prompts().indexOf(prompt))
    this.#show(prompt)
  }

  /** Shows the draft again. */
  cancel () {
    if (this.#at !== -1) this.#show(this.#draft)
    this.reset()
  }

  /** The next prompt begins. */
  reset () {
    this.#at = -1
    this.#shown = undefined
  }

  /** Whether the caret has nowhere to go in the text. Where lines are wrapped, only its beginning is surely the top. */
  #leavesText (step) {
    const { value, selectionStart, selectionEnd } = this.#input
    if (selectionStart !== selectionEnd) return false
    if (value === this.#shown && selectionEnd === value.length) return true
    if (step === -1) return this.#at !== -1 && !value.slice(selectionEnd).includes('\n')
    return selectionStart === 0 || (!value.slice(0, selectionStart).includes('\n') && !this.#wraps)
  }

  get #wraps () {
    const rows = Math.floor(this.#input.scrollHeight / parseFloat(window.getComputedStyle(this.#input).lineHeight))
    return rows > this.#input.value.split('\n').length
  }

  #show (text) {
    this.#shown = text
    this.#input.value = text
    this.#input.setSelectionRange(text.length, text.length)
    this.#input.dispatchEvent(new Event('input', { bubbles: true }))
  }
}
