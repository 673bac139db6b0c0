/** Labels that have a note in the text that is being parsed. Without one, `[^a-z]` is just text. */
let defined = new Set()

/** Called before a text is parsed. */
export function findFootnotes (text) {
  defined = new Set(Array.from(text.matchAll(/^ {0,3}\[\^([^\]\s]{1,50})\]:/gm), ([, label]) => label))
}

const labelled = (label) => `<sup class="footnote-label">${label}</sup>`

/** Footnotes as on GitHub, but where they were written: a link to one would change the page's address, its route. */
export const footnotes = (escape) => [
  {
    name: 'footnote',
    level: 'block',
    start: (text) => /^ {0,3}\[\^[^\]\s]+\]:/m.exec(text)?.index,
    tokenizer (text) {
      const [raw, label, note] = /^ {0,3}\[\^([^\]\s]{1,50})\]:[ \t]*([^\n]*(?:\n(?![ \t]*(?:\n|$)| {0,3}\[\^)[^\n]*)*)(?:\n+|$)/.exec(text) ?? []
      if (raw === undefined) return
      return { type: 'footnote', raw, label, tokens: this.lexer.inline(note.replace(/\n[ \t]+/g, '\n')) }
    },
    renderer ({ label, tokens }) {
      return `<p class="footnote">${labelled(escape(label))} ${this.parser.parseInline(tokens)}</p>`
    }
  },
  {
    name: 'footnoteReference',
    level: 'inline',
    start: (text) => text.indexOf('[^'),
    tokenizer (text) {
      const [raw, label] = /^\[\^([^\]\s]{1,50})\]/.exec(text) ?? []
      if (defined.has(label)) return { type: 'footnoteReference', raw, label }
    },
    renderer: ({ label }) => labelled(escape(label))
  }
]
