import { h } from '../lib/dom.js'
import { extendCode, highlight } from './code.js'
import { drawDiagrams } from './diagram.js'
import { typeset } from './math.js'
import { loadRenderer, renderer } from './renderer.js'

/** Short enough to look fluent, long enough to leave the browser idle in between. */
const renderIntervalMs = 60

/** Markdown that is still being written. Settled blocks are not rendered again; only the last ones are (7.5). */
export class LiveMarkdown {
  element = h('div', { class: 'markdown' })
  #text = ''
  /** Everything before this offset is settled. */
  #settled = 0
  /** The blocks after that offset: `{token, elements}`. */
  #tail = []
  #timer
  #finished = false
  #waiting = false

  append (text) {
    this.#text += text.replaceAll('\r', '')
    this.#timer ??= setTimeout(() => requestAnimationFrame(() => { if (this.#timer) this.#render() }), renderIntervalMs)
  }

  /** Renders the complete text. */
  finish (text = this.#text) {
    clearTimeout(this.#timer)
    text = text.replaceAll('\r', '')
    // A link definition may also apply to blocks above it, which are rendered already.
    if (!text.startsWith(this.#text.slice(0, this.#settled)) || /^ {0,3}\[[^\]]+\]:/m.test(text)) this.#restart()
    this.#text = text
    this.#finished = true
    this.#render()
    for (const { elements } of this.#tail) for (const element of elements) complete(element)
  }

  remove () {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.element.remove()
  }

  /** Until what renders markdown has been loaded. */
  async #showPlain () {
    this.element.textContent = this.#text
    if (this.#waiting) return
    this.#waiting = true
    await loadRenderer()
    this.#waiting = false
    if (renderer === undefined) return
    this.element.replaceChildren()
    if (this.#finished) this.finish()
    else this.#render()
  }

  #restart () {
    this.element.replaceChildren()
    this.#settled = 0
    this.#tail = []
  }

  #render () {
    this.#timer = undefined
    if (renderer === undefined) return this.#showPlain()
    const { blocksOf, renderBlock } = renderer
    const tokens = blocksOf(this.#text.slice(this.#settled))
    const same = tokens.findIndex((token, index) => token.raw !== this.#tail[index]?.token.raw)
    const kept = same === -1 ? tokens.length : same
    const extended = this.#extend(tokens[kept], this.#tail[kept])
    for (const { elements } of this.#tail.splice(kept + extended)) for (const element of elements) element.remove()
    for (const token of tokens.slice(kept + extended)) {
      const elements = token.type === 'space' ? [] : renderBlock(token)
      this.element.append(...elements)
      this.#tail.push({ token, elements })
    }
    this.#settle()
  }

  /** Extends a code block in place: it may be long, and hold the user's selection. @returns 1 if it did, else 0 */
  #extend (token, before) {
    if (token?.type !== 'code' || before?.token.type !== 'code' || token.lang !== before.token.lang) return 0
    if (token.codeBlockStyle || before.token.codeBlockStyle || !token.text.startsWith(before.token.text)) return 0
    extendCode(before.elements[0], token.text)
    before.token = token
    return 1
  }

  /** Settles all blocks but the last two: a list, for example, may continue after an empty line. */
  #settle () {
    const written = this.#tail.filter(({ token }) => token.type !== 'space')
    if (written.length < 3) return
    const settled = this.#tail.splice(0, this.#tail.indexOf(written.at(-2)))
    for (const { token, elements } of settled) {
      this.#settled += token.raw.length
      for (const element of elements) complete(element)
    }
  }
}

/** What would be wrong, or in vain, before a block is complete. */
function complete (element) {
  highlight(element)
  typeset(element)
  drawDiagrams(element)
  if (element.querySelector?.('.workspace-picture')) {
    import('./workspace-pictures.js').then(({ showPictures }) => showPictures(element)).catch(() => {})
  }
}
