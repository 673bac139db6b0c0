import { h } from '../lib/dom.js'

/**
 * What can stand inside of a line. Every repetition is bounded: text that is not ours must not be able to keep the
 * browser busy.
 */
const token = new RegExp([
  String.raw`\\(?<escaped>[\\${'`'}*_{}[\]()#+.!~|<>-])`,
  String.raw`(?<ticks>${'`'}{1,8})(?!${'`'})(?<code>[^]{0,2000}?[^${'`'}])\k<ticks>(?!${'`'})`,
  String.raw`!?\[(?<label>[^\[\]\n]{1,500})\]\((?<href>[^()\s]{1,1000}(?:\([^()\s]{0,200}\)[^()\s]{0,200})?)(?:\s"[^"\n]{0,200}")?\)`,
  String.raw`<?(?<url>https?:\/\/[^\s<>"'${'`'}]{1,1000})>?`,
  String.raw`\*\*\*(?=[^\s*])(?<both>[^]{0,1000}?[^\s*])\*\*\*`,
  String.raw`\*\*(?=[^\s*])(?<strong>[^]{0,1000}?\S)\*\*(?!\*)`,
  String.raw`(?<!\w)__(?=[^\s_])(?<strong2>[^]{0,1000}?[^\s_])__(?!\w)`,
  String.raw`\*(?=[^\s*])(?<em>[^*]{0,1000}?[^\s*])\*(?!\*)`,
  String.raw`(?<!\w)_(?=[^\s_])(?<em2>[^_]{0,1000}?[^\s_])_(?!\w)`,
  String.raw`~~(?=\S)(?<gone>[^]{0,1000}?\S)~~`
].join('|'), 'g')

/** Above this a block is somebody's data, not prose: it is shown as it is. */
const longest = 20_000

/** The text of one block as nodes: emphasis, code and links; anything else stays text. */
export function inline (text) {
  if (text.length > longest) return [document.createTextNode(text)]
  const nodes = []
  let end = 0
  for (const match of text.matchAll(token)) {
    const [node, length] = toNode(match)
    nodes.push(document.createTextNode(text.slice(end, match.index)), node)
    end = match.index + length
  }
  nodes.push(document.createTextNode(text.slice(end)))
  return nodes.filter((node) => node.data !== '')
}

/** The node and how much of the text it stands for. */
function toNode ({ 0: whole, groups }) {
  const { escaped, code, label, href, url, both, gone } = groups
  const strong = groups.strong ?? groups.strong2
  const em = groups.em ?? groups.em2
  if (escaped !== undefined) return [document.createTextNode(escaped), whole.length]
  if (code !== undefined) return [h('code', {}, trimOnce(code)), whole.length]
  if (label !== undefined) return [link(href, inline(label)) ?? document.createTextNode(whole), whole.length]
  if (url !== undefined) return bareLink(whole, url)
  if (both !== undefined) return [h('strong', {}, h('em', {}, inline(both))), whole.length]
  if (strong !== undefined) return [h('strong', {}, inline(strong)), whole.length]
  if (em !== undefined) return [h('em', {}, inline(em)), whole.length]
  return [h('del', {}, inline(gone)), whole.length]
}

/** One space on each side is how code that starts or ends with a backtick is written. */
function trimOnce (code) {
  return code.startsWith(' ') && code.endsWith(' ') && code.trim() !== '' ? code.slice(1, -1) : code
}

/** Full stops and brackets around an address are the sentence's, not its own. */
function bareLink (whole, url) {
  const bracketed = whole.startsWith('<')
  let address = bracketed ? url : url.replace(/[.,;:!?*_~]+$/, '')
  if (!bracketed && address.endsWith(')') && !address.includes('(')) address = address.slice(0, -1)
  const node = link(address, [address])
  if (node === undefined) return [document.createTextNode(whole), whole.length]
  return [node, bracketed ? whole.length : address.length]
}

/** Only the web: no scripts, no data, no files. */
function link (href, content) {
  if (!/^https?:\/\//i.test(href) || !URL.canParse(href)) return
  return h('a', { href, title: href, target: '_blank', rel: 'noopener noreferrer' }, content)
}
