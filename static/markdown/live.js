import { h } from '../lib/dom.js'
import { parseBlocks } from './blocks.js'
import { extendCode } from './code.js'
import { renderBlock } from './render.js'

/** Often enough to look fluent, seldom enough to leave the browser time. */
const interval = 50

/** Markdown that grows. Only its last block is parsed and rendered again (7.5). */
export class LiveMarkdown {
  element = h('div', { class: 'markdown' })
  #text = ''
  /** Everything before this offset is rendered for good. */
  #settled = 0
  /** The elements after it, and what they were made of. */
  #tail = []
  #timer

  append (text) {
    this.#text += text
    this.#timer ??= setTimeout(() => this.#render(), interval)
  }

  /** The whole text, when it is known. */
  finish (text = this.#text) {
    clearTimeout(this.#timer)
    if (!text.startsWith(this.#text.slice(0, this.#settled))) this.#restart()
    this.#text = text
    this.#render()
  }

  remove () {
    clearTimeout(this.#timer)
    this.element.remove()
  }

  #restart () {
    this.element.replaceChildren()
    this.#settled = 0
    this.#tail = []
  }

  #render () {
    this.#timer = undefined
    const blocks = parseBlocks(this.#text.slice(this.#settled))
    const reusable = this.#reusable(blocks)
    if (reusable) {
      extendCode(this.#tail[0].element, blocks[0].text)
      this.#tail[0].block = blocks[0]
    }
    const kept = reusable ? [this.#tail[0]] : []
    for (const { element } of this.#tail.slice(kept.length)) element.remove()
    this.#tail = [...kept, ...blocks.slice(kept.length).map((block) => ({ block, element: renderBlock(block) }))]
    this.element.append(...this.#tail.slice(kept.length).map(({ element }) => element))
    this.#settle()
  }

  /** Code that goes on is extended in place: it may be long, and somebody may be selecting in it. */
  #reusable ([first]) {
    const before = this.#tail[0]?.block
    return first?.type === 'code' && before?.type === 'code' && before.open && before.language === first.language
  }

  #settle () {
    // One unfinished line may still turn out to belong to the block before it.
    const unfinished = this.#tail.at(-1)?.block
    const oneLine = unfinished && !this.#text.slice(this.#settled + unfinished.start).includes('\n')
    const settled = this.#tail.splice(0, Math.max(0, this.#tail.length - (oneLine ? 2 : 1)))
    if (settled.length === 0) return
    const shift = settled.at(-1).block.end
    this.#settled += shift
    for (const { block } of this.#tail) {
      block.start -= shift
      block.end -= shift
    }
  }
}
