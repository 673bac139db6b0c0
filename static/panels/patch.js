import { h } from '../lib/dom.js'
import { words } from '../lib/words.js'

/** More would make the page slow. */
const maxLines = 5000
const classOf = { '+': 'added', '-': 'removed', ' ': 'same', '\\': 'omitted' }

/**
 * The hunks of a unified diff of one file, as the CLI's patches have them. What git writes for a conflict is one, too:
 * its lines have a sign for each side.
 * @returns {{oldStart?: number, newStart?: number, lines: string[]}[]}
 */
export function hunksIn (diff) {
  const hunks = []
  for (const line of diff.replace(/\n$/, '').split('\n')) {
    const [header, oldStart, newStart] = /^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@/.exec(line) ?? /^@@@+ /.exec(line) ?? []
    const start = oldStart && { oldStart: Number(oldStart), newStart: Number(newStart) }
    if (header !== undefined) hunks.push({ ...start, lines: [] })
    // What is between the hunks is about the files.
    else if (/^[ +\\-]/.test(line)) hunks.at(-1)?.lines.push(line)
  }
  return hunks
}

/** The lines of hunks with their numbers in the file: in the earlier one for removed lines, otherwise in the later. */
export function patchView (hunks) {
  const lines = hunks.flatMap((hunk, index) => [...index > 0 ? [['…', '']] : [], ...numbered(hunk)])
  const rest = lines.length - maxLines
  const numbersKnown = hunks.some(({ newStart }) => newStart !== undefined)
  return h('pre', { class: 'diff', tabindex: '0', 'aria-label': words.common.changes, 'data-numbered': numbersKnown },
    lines.slice(0, maxLines).map(([sign, text, number]) =>
      h('span', { class: classOf[sign] ?? 'omitted', 'data-line': number }, h('span', { class: 'sign' }, sign), `${text}\n`)),
    rest > 0 && h('span', { class: 'omitted' }, words.common.moreLines(rest)))
}

function numbered ({ oldStart, newStart, lines }) {
  if (newStart === undefined) return lines.map((line) => [signOfConflict(line), line])
  let [old, now] = [oldStart, newStart]
  return lines.map((line) => {
    const sign = line.charAt(0)
    if (sign === '+') return [sign, line.slice(1), now++]
    if (sign === '-') return [sign, line.slice(1), old++]
    if (sign === '\\') return [sign, line.slice(1)]
    old++
    return [' ', line.slice(1), now++]
  })
}

function signOfConflict (line) {
  const signs = line.slice(0, 2)
  return signs.includes('+') ? '+' : signs.includes('-') ? '-' : ' '
}
