/** More of it would block the page. */
const maxLength = 5000

/** A formula stays as it was written, in an element for {@link typeset}. */
const formula = (name, level, start, pattern, kind, escape) => ({
  name,
  level,
  start: (text) => start.exec(text)?.index,
  tokenizer (text) {
    const [raw, ...groups] = pattern.exec(text) ?? []
    const tex = groups.find((group) => group !== undefined)
    if (tex !== undefined) return { type: name, raw, text: raw.trim(), tex }
  },
  renderer: ({ text }) => level === 'block'
    ? `<p><span class="math ${kind}">${escape(text)}</span></p>`
    : `<span class="math ${kind}">${escape(text)}</span>`
})

/**
 * Formulas between dollars or TeX's own brackets. A single dollar is mostly money: a formula neither begins nor ends
 * with a space, and no digit follows it.
 */
export const math = (escape) => [
  formula('mathBlock', 'block', /^ {0,3}(?:\$\$|\\\[)/m,
    /^ {0,3}(?:\$\$([^$]{1,5000}?)\$\$|\\\[([^]{1,5000}?)\\\])[ \t]*(?:\n+|$)/, 'display', escape),
  formula('mathDisplay', 'inline', /\$\$|\\\[/, /^(?:\$\$([^$]{1,5000}?)\$\$|\\\[([^]{1,5000}?)\\\])/, 'display', escape),
  formula('mathInline', 'inline', /\$|\\\(/,
    /^(?:\$(?![\s$])([^$\n]{0,500}?[^\s$\\])\$(?![\d$])|\\\(([^\n]{1,500}?)\\\))/, 'inline', escape)
]

/** Typesets the formulas in an element that is complete. The library and its fonts are loaded on first use. */
export async function typeset (element) {
  const formulas = [...element.matches?.('.math') ? [element] : element.querySelectorAll?.('.math') ?? []]
    .filter(({ dataset, textContent }) => !dataset.typeset && textContent.length <= maxLength)
  if (formulas.length === 0) return
  const katex = await load()
  for (const formula of formulas) {
    if (formula.dataset.typeset) continue
    formula.dataset.typeset = 'yes'
    const source = formula.textContent
    const tex = source.replace(/^(\$\$?|\\[([])/, '').replace(/(\$\$?|\\[)\]])$/, '')
    const displayMode = formula.classList.contains('display')
    try {
      katex.render(tex, formula, { displayMode, trust: false, maxSize: 20, maxExpand: 500, strict: false })
    } catch {
      // Not TeX after all.
      formula.textContent = source
    }
  }
}

let loading

function load () {
  loading ??= (async () => {
    const style = document.createElement('link')
    Object.assign(style, { rel: 'stylesheet', href: import.meta.resolve('../vendor/katex.css') })
    const styled = new Promise((resolve) => style.addEventListener('load', resolve))
    document.head.append(style)
    await Promise.all([import('../vendor/katex.js'), styled])
    return window.katex
  })()
  return loading
}
