import { h } from '../lib/dom.js'
import { words } from '../lib/words.js'

/** A longer source, or one that takes longer, stays text. */
const maxLength = 50_000
const timeoutMs = 30_000

let frame
/** Who waits for a drawing, by its number. */
const waiting = new Map()
let count = 0

/**
 * Shows the diagrams in an element that is complete; their sources are behind them. The library is loaded on first use.
 */
export async function drawDiagrams (element) {
  const blocks = element.matches?.('.code') ? [element] : element.querySelectorAll?.('.code') ?? []
  for (const block of blocks) {
    if (block.dataset.language !== 'mermaid' || block.dataset.scheme) continue
    const text = block.querySelector('code').textContent
    const dark = isDark()
    block.dataset.scheme = dark ? 'dark' : 'light'
    const svg = text.length <= maxLength && await draw(text, dark)
    if (svg) show(block, svg)
    else delete block.dataset.scheme
  }
}

function isDark () {
  const { theme } = document.documentElement.dataset
  return theme ? theme === 'dark' : window.matchMedia('(prefers-color-scheme: dark)').matches
}

function show (block, svg) {
  const [, width] = /viewBox="\S+ \S+ ([\d.]+) /.exec(svg) ?? []
  const image = h('img', { alt: words.code.diagram, src: `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`, width: width && Math.ceil(width) })
  const source = block.querySelector('pre')
  const toggle = h('button', { type: 'button', class: 'copy', 'aria-pressed': 'false' }, words.code.source)
  toggle.addEventListener('click', () => {
    source.hidden = !source.hidden
    drawing.hidden = !source.hidden
    toggle.setAttribute('aria-pressed', String(!source.hidden))
  })
  const drawing = h('div', { class: 'diagram' }, image)
  source.before(drawing)
  source.hidden = true
  block.querySelector('figcaption .copy').before(h('span', { class: 'space' }), toggle)
}

/** @returns an SVG document; undefined for what is not a diagram */
async function draw (text, dark) {
  const target = await (frame ??= openFrame())
  const id = ++count
  return await new Promise((resolve) => {
    const timer = setTimeout(() => resolve(undefined), timeoutMs)
    waiting.set(id, (svg) => {
      clearTimeout(timer)
      resolve(svg)
    })
    // It has no origin that could be named.
    target.postMessage({ id, text, dark }, '*')
  })
}

function openFrame () {
  const element = h('iframe', {
    src: 'diagram.html', sandbox: 'allow-scripts', title: words.code.drawing, class: 'diagram-frame', tabindex: '-1', 'aria-hidden': 'true'
  })
  window.addEventListener('message', ({ source, data: { id, svg } }) => {
    if (source !== element.contentWindow) return
    waiting.get(id)?.(svg)
    waiting.delete(id)
  })
  document.body.append(element)
  return new Promise((resolve) => element.addEventListener('load', () => resolve(element.contentWindow)))
}
