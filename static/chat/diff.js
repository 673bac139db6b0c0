import { h } from '../lib/dom.js'
import { words } from '../lib/words.js'

/** Longer changes are shown as one block: comparing their lines pair by pair would block the page. */
const maxComparedLines = 600
/** Unchanged lines shown around a change. */
const contextLines = 3

/**
 * The difference between two texts as `[sign, line, number][]`. The sign is `+`, `-`, a space, or `…` for omitted
 * lines; the number is that of the line in the later text, or of a removed one in the earlier.
 */
function diffLines (before, after) {
  const [old, now] = [before, after].map((text) => text === '' ? [] : text.replace(/\n$/, '').split('\n'))
  let start = 0
  while (start < old.length && start < now.length && old[start] === now[start]) start++
  let end = 0
  while (end < old.length - start && end < now.length - start && old.at(-1 - end) === now.at(-1 - end)) end++
  const same = (lines) => lines.map((line) => [' ', line])
  return collapse(numbered([
    ...same(old.slice(0, start)),
    ...changes(old.slice(start, old.length - end), now.slice(start, now.length - end)),
    ...same(old.slice(old.length - end))
  ]))
}

function numbered (lines) {
  let [old, now] = [0, 0]
  return lines.map(([sign, line]) => {
    if (sign !== '+') old++
    if (sign !== '-') now++
    return [sign, line, sign === '-' ? old : now]
  })
}

function changes (old, now) {
  if (old.length > maxComparedLines || now.length > maxComparedLines || old.length === 0 || now.length === 0) {
    return [...old.map((line) => ['-', line]), ...now.map((line) => ['+', line])]
  }
  const common = commonLengths(old, now)
  const lines = []
  let [i, j] = [0, 0]
  while (i < old.length || j < now.length) {
    if (old[i] === now[j] && i < old.length) {
      lines.push([' ', old[i++]])
      j++
    } else if (j >= now.length || (i < old.length && common[i + 1][j] >= common[i][j + 1])) lines.push(['-', old[i++]])
    else lines.push(['+', now[j++]])
  }
  return lines
}

/** `[i][j]`: length of the longest common subsequence of `old` from line i and `now` from line j. */
function commonLengths (old, now) {
  const lengths = Array.from({ length: old.length + 1 }, () => new Uint16Array(now.length + 1))
  for (let i = old.length - 1; i >= 0; i--) {
    for (let j = now.length - 1; j >= 0; j--) {
      lengths[i][j] = old[i] === now[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1])
    }
  }
  return lengths
}

function collapse (lines) {
  const near = lines.map((_line, index) =>
    lines.slice(Math.max(0, index - contextLines), index + contextLines + 1).some(([sign]) => sign !== ' '))
  return lines.flatMap((line, index) => near[index] ? [line] : index === 0 || near[index - 1] ? [['…', '']] : [])
}

const classOfSign = { '+': 'added', '-': 'removed', ' ': 'same', '…': 'omitted' }
const maxShownLines = 2000

/** @param {{firstLine?: number}} options where the texts begin in their file, if that is known */
export function diffView (before, after, { firstLine } = {}) {
  const lines = diffLines(before, after)
  const rest = lines.length - maxShownLines
  const place = (number) => firstLine !== undefined && number !== undefined && firstLine + number - 1
  return h('pre', { class: 'diff', tabindex: '0', 'aria-label': words.common.changes, 'data-numbered': firstLine !== undefined },
    lines.slice(0, maxShownLines).map(([sign, line, number]) =>
      h('span', { class: classOfSign[sign], 'data-line': place(number) }, h('span', { class: 'sign' }, sign), `${line}\n`)),
    rest > 0 && h('span', { class: 'omitted' }, words.common.moreLines(rest)))
}

/** `+12 −3` */
export function diffSize (before, after) {
  const signs = diffLines(before, after).map(([sign]) => sign)
  const count = (wanted) => signs.filter((sign) => sign === wanted).length
  return [count('+') && `+${count('+')}`, count('-') && `−${count('-')}`].filter(Boolean).join(' ')
}

/**
 * Where an edit begins in its file, from the patch that the CLI made of it; undefined if the edit is in several places.
 * @param {{oldStart: number, lines: string[]}[]} [patch]
 */
export function placeOf (patch, before) {
  if (!Array.isArray(patch) || patch.length !== 1) return
  const [{ oldStart, lines }] = patch
  const old = lines.filter((line) => !line.startsWith('+')).map((line) => line.slice(1))
  const wanted = before.replace(/\n$/, '').split('\n')
  const at = old.findIndex((_line, index) => wanted.every((line, offset) => old[index + offset]?.includes(line)))
  return at === -1 ? undefined : oldStart + at
}
