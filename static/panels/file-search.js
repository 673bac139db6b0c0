import { h } from '../lib/dom.js'
import { icon } from '../lib/icons.js'
import { words } from '../lib/words.js'
import { iconButton } from '../views/notice.js'

/** More are found, but neither counted nor marked. */
const maxFound = 1000

/** A field that finds a text in a file, whatever its case. Enter goes to the next place, Shift Enter back. */
export class FileSearch {
  #input = h('input', {
    type: 'search',
    'aria-label': words.files.findInFile,
    placeholder: words.files.find,
    oninput: () => this.#find(),
    onkeydown: (event) => this.#onKey(event)
  })

  #count = h('span', { class: 'muted small', role: 'status' })
  #found = []
  #at = 0
  #target

  constructor () {
    this.element = h('div', { class: 'file-search', hidden: true }, icon('search'), this.#input, this.#count,
      iconButton('arrowUp', words.files.placeBefore, () => this.#go(-1)),
      iconButton('arrowDown', words.files.nextPlace, () => this.#go(1)))
  }

  /**
   * Searches another text, or none.
   * @param {{text: string, mark: (found: number[], length: number, at: number) => void, leave: () => void}} [target]
   */
  in (target) {
    this.#target = target
    this.element.hidden = target === undefined
    if (target && this.#input.value !== '') this.#find()
  }

  /** Marks the same places again. */
  again () {
    if (this.#found.length > 0) this.#show()
  }

  #find () {
    this.#found = placesOf(this.#input.value.toLowerCase(), this.#target.text.toLowerCase())
    this.#at = 0
    this.#show()
  }

  #go (by) {
    if (this.#found.length === 0) return
    this.#at = (this.#at + by + this.#found.length) % this.#found.length
    this.#show()
  }

  #show () {
    const { length } = this.#found
    const place = length === 0 ? words.files.notFound : words.common.ofTotal(this.#at + 1, length)
    this.#count.textContent = this.#input.value === '' ? '' : place
    this.#target.mark(this.#found, this.#input.value.length, this.#at)
  }

  #onKey (event) {
    if (event.key === 'Enter') {
      event.preventDefault()
      this.#go(event.shiftKey ? -1 : 1)
    } else if (event.key === 'Escape' && this.#input.value !== '') {
      event.stopPropagation()
      this.#input.value = ''
      this.#find()
      this.#target.leave()
    }
  }
}

function placesOf (wanted, text) {
  const found = []
  if (wanted === '') return found
  let at = text.indexOf(wanted)
  while (at !== -1 && found.length < maxFound) {
    found.push(at)
    at = text.indexOf(wanted, at + wanted.length)
  }
  return found
}

/** Marks places in an element's text without changing the element, and shows the current one. */
export function markIn (element, found, length, at) {
  if (!window.CSS.highlights) return
  const ranges = rangesIn(element, found, length)
  window.CSS.highlights.set('found', new window.Highlight(...ranges))
  window.CSS.highlights.set('found-current', new window.Highlight(...ranges.slice(at, at + 1)))
  if (ranges[at]) scrollTo(element, ranges[at])
}

function rangesIn (element, found, length) {
  const walker = document.createTreeWalker(element, window.NodeFilter.SHOW_TEXT)
  let [node, start] = [walker.nextNode(), 0]
  const placeOf = (offset) => {
    while (node && offset > start + node.data.length) [start, node] = [start + node.data.length, walker.nextNode()]
    return [node, offset - start]
  }
  return found.map((offset) => {
    const range = new window.Range()
    range.setStart(...placeOf(offset))
    range.setEnd(...placeOf(offset + length))
    return range
  })
}

function scrollTo (element, range) {
  const scroller = element.closest('.panel-body')
  const [place, view] = [range.getBoundingClientRect(), scroller.getBoundingClientRect()]
  const hidden = place.top < view.top + 120 || place.bottom > view.bottom - 40
  if (hidden) scroller.scrollTop += place.top - view.top - view.height / 2
  const line = element.closest('pre')
  const box = line.getBoundingClientRect()
  if (place.left < box.left || place.right > box.right) line.scrollLeft += place.left - box.left - box.width / 2
}
