const fence = /^ {0,3}(`{3,}|~{3,})[ \t]*([^`]*)$/
const heading = /^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*$/
const rule = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/
const quote = /^ {0,3}>/
const listItem = /^( *)([-*+]|\d{1,9}[.)])( +|$)(.*)$/
const tableRule = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/
const deepest = 6

/**
 * Markdown's blocks: `{type, start, end, ...}` with offsets into `text`, so that a stream can be taken up where its
 * last block starts. A block depends only on what comes before its end.
 */
export function parseBlocks (text, depth = 0) {
  const lines = readLines(text)
  const blocks = []
  let at = 0
  while (at < lines.length) {
    if (lines[at].text.trim() === '') { at++; continue }
    const { next, ...block } = readBlock(lines, at, depth)
    const last = lines[next - 1]
    blocks.push({ ...block, start: lines[at].start, end: last.start + last.text.length })
    at = next
  }
  return blocks
}

function readLines (text) {
  let start = 0
  return text.split('\n').map((line) => {
    const entry = { start, text: line.endsWith('\r') ? line.slice(0, -1) : line }
    start += line.length + 1
    return entry
  })
}

function readBlock (lines, at, depth) {
  const { text } = lines[at]
  if (fence.test(text)) return readFence(lines, at)
  const title = heading.exec(text)
  if (title) return { type: 'heading', level: title[1].length, text: title[2], next: at + 1 }
  if (rule.test(text)) return { type: 'rule', next: at + 1 }
  if (quote.test(text) && depth < deepest) return readQuote(lines, at, depth)
  if (listItem.test(text) && depth < deepest) return readList(lines, at, depth)
  if (startsTable(lines, at)) return readTable(lines, at)
  return readParagraph(lines, at)
}

function readFence (lines, at) {
  const [opening, marks, info] = fence.exec(lines[at].text)
  const indent = opening.length - opening.trimStart().length
  const closing = new RegExp(`^ {0,3}\\${marks[0]}{${marks.length},}[ \\t]*$`)
  let next = at + 1
  while (next < lines.length && !closing.test(lines[next].text)) next++
  const open = next === lines.length
  const code = lines.slice(at + 1, next).map(({ text }) => text.replace(new RegExp(`^ {0,${indent}}`), ''))
  // The start of a closing fence that is still being written is not code.
  if (open && code.length > 0 && marks.startsWith(code.at(-1).trim())) code[code.length - 1] = ''
  return { type: 'code', language: info.trim().split(/\s/)[0], text: code.join('\n'), open, next: open ? next : next + 1 }
}

function readQuote (lines, at, depth) {
  let next = at
  while (next < lines.length && quote.test(lines[next].text)) next++
  const inner = lines.slice(at, next).map(({ text }) => text.replace(/^ {0,3}> ?/, '')).join('\n')
  return { type: 'quote', blocks: parseBlocks(inner, depth + 1), next }
}

function readList (lines, at, depth) {
  const [, , marker] = listItem.exec(lines[at].text)
  const ordered = /\d/.test(marker)
  const items = []
  let next = at
  while (next < lines.length) {
    const match = listItem.exec(lines[next].text)
    if (!match || /\d/.test(match[2]) !== ordered || rule.test(lines[next].text)) break
    const end = endOfItem(lines, next, match)
    items.push(readItem(lines.slice(next, end), match, depth))
    next = end
    while (next < lines.length && lines[next].text.trim() === '' && continues(lines, next, ordered)) next++
  }
  return { type: 'list', ordered, first: ordered ? Number.parseInt(marker) : 1, items, next }
}

/** After empty lines a list goes on when the next text is another of its items. */
function continues (lines, at, ordered) {
  const following = lines.slice(at, at + 20).find(({ text }) => text.trim() !== '')
  const match = following && listItem.exec(following.text)
  return Boolean(match) && /\d/.test(match[2]) === ordered
}

/** An item holds what is indented under it. Two spaces are enough: that is how models write nested lists. */
function endOfItem (lines, at, [, indent]) {
  const inside = indent.length + 2
  let end = at + 1
  for (let next = at + 1; next < lines.length; next++) {
    const { text } = lines[next]
    if (text.trim() === '') continue
    const indented = text.length - text.trimStart().length >= inside
    const lazy = next === end && !startsBlock(lines, next)
    if (!indented && !lazy) break
    end = next + 1
  }
  return end
}

function readItem (lines, [, indent, marker, space, text], depth) {
  const strip = new RegExp(`^ {0,${indent.length + marker.length + Math.max(1, space.length)}}`)
  const rest = lines.slice(1).map((line) => line.text.replace(strip, ''))
  return parseBlocks([text, ...rest].join('\n'), depth + 1)
}

function startsTable (lines, at) {
  return lines[at].text.includes('|') && at + 1 < lines.length &&
    lines[at + 1].text.includes('-') && tableRule.test(lines[at + 1].text) &&
    cells(lines[at].text).length === cells(lines[at + 1].text).length
}

function readTable (lines, at) {
  let next = at + 2
  while (next < lines.length && lines[next].text.includes('|')) next++
  const rows = lines.slice(at + 2, next).map(({ text }) => cells(text))
  return { type: 'table', head: cells(lines[at].text), rows, next }
}

function cells (line) {
  const inner = line.trim().replace(/^\|/, '').replace(/(?<!\\)\|$/, '')
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|'))
}

function readParagraph (lines, at) {
  let next = at + 1
  while (next < lines.length && lines[next].text.trim() !== '' && !startsBlock(lines, next)) next++
  return { type: 'paragraph', text: lines.slice(at, next).map(({ text }) => text.trim()).join('\n'), next }
}

function startsBlock (lines, at) {
  const { text } = lines[at]
  return fence.test(text) || heading.test(text) || rule.test(text) || quote.test(text) || listItem.test(text) ||
    startsTable(lines, at)
}
