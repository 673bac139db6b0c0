import { locale, words } from './words.js'

const second = 1000
const minute = 60 * second
const hour = 60 * minute
const { units } = words

/** @param {number} [digits] after the decimal point */
function formatNumber (number, digits = 0) {
  return number.toLocaleString(locale, {
    minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false
  })
}

/** `40 ms`, `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`. */
export function formatDuration (ms) {
  if (ms > 0 && ms < 100) return units.milliseconds(formatNumber(ms))
  if (ms < 10 * second) return units.seconds(formatNumber(ms / second, 1))
  if (ms < minute) return units.seconds(formatNumber(ms / second))
  return ms < hour
    ? inTwo(units.minutes, Math.floor(ms / minute), units.seconds, Math.floor(ms % minute / second))
    : inTwo(units.hours, Math.floor(ms / hour), units.minutes, Math.floor(ms % hour / minute))
}

function inTwo (large, number, small, rest) {
  return rest > 0 ? `${large(formatNumber(number))} ${small(formatNumber(rest))}` : large(formatNumber(number))
}

/** A duration in whole seconds, which counts up: `3 s`. */
export function formatElapsed (ms) {
  const seconds = Math.floor(ms / second)
  return seconds < 10 ? units.seconds(formatNumber(seconds)) : formatDuration(second * seconds)
}

/** A duration in one unit, so that a countdown does not flicker: `59 min`; below two minutes in seconds. */
export function approximateDuration (ms) {
  if (ms < 2 * minute) return units.seconds(formatNumber(Math.max(0, Math.round(ms / second))))
  if (ms < 2 * hour) return units.minutes(formatNumber(Math.floor(ms / minute)))
  return units.hours(formatNumber(Math.floor(ms / hour)))
}

/** `14:05:00`, as it is written where the user is. @param {string | number} time */
export function formatTime (time) {
  return new Date(time).toLocaleTimeString(locale)
}

/** The day and the time. @param {string | number} time */
export function formatDateTime (time) {
  return new Date(time).toLocaleString(locale)
}

/** `$0.0123`, `$1.20`. */
export function formatCost (usd) {
  const digits = usd < 0.1 ? 4 : 2
  return usd.toLocaleString(locale, {
    style: 'currency',
    currency: 'USD',
    currencyDisplay: 'narrowSymbol',
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
    useGrouping: false
  })
}

/** `25`, `1.2k`, `3.4M`. */
export function formatCount (number) {
  if (number < 1000) return formatNumber(number)
  return number < 1e6 ? units.thousands(formatNumber(number / 1000, 1)) : units.millions(formatNumber(number / 1e6, 1))
}

/** `80 %`, also of less than one. @param {number} part of one */
export function formatPercent (part) {
  return part < 0.01 ? units.belowOnePercent : units.percent(formatNumber(100 * part))
}

/** `one, two, three`. @param {string[]} names */
export function formatList (names) {
  return new Intl.ListFormat(locale, { type: 'unit', style: 'short' }).format(names)
}

/** The tokens of a prompt, with those read from or written to the cache, of a usage of the model API. */
export function promptTokens (usage) {
  const parts = ['input_tokens', 'cache_creation_input_tokens', 'cache_read_input_tokens']
  return parts.reduce((sum, part) => sum + (Number(usage[part]) || 0), 0)
}

const byteUnits = [units.bytes, units.kilobytes, units.megabytes, units.gigabytes, units.terabytes]

/** `0 B`, `12 kB`, `3.4 MB`: decimal units, as in file managers. */
export function formatBytes (number) {
  const power = Math.min(byteUnits.length - 1, Math.floor(Math.log10(Math.max(1, number)) / 3))
  const value = number / 1000 ** power
  return byteUnits[power](formatNumber(value, power > 0 && value < 10 ? 1 : 0))
}

/** `1 GiB`, `1.5 GiB`. */
export function formatMemory (mebibytes) {
  return units.gibibytes((mebibytes / 1024).toLocaleString(locale, { maximumFractionDigits: 1, useGrouping: false }))
}

/** Enough of an id to distinguish it from others. */
export function shortId (id) {
  return id.length > 14 ? `${id.slice(0, 6)}…${id.slice(-4)}` : id
}

const escape = String.fromCharCode(27)
const ansiSequences = new RegExp(`${escape}(?:\\[[0-?]*[ -/]*[@-~]|\\][^${escape}\\u0007]*(?:\\u0007|${escape}\\\\))`, 'g')

/** Terminal output without its control sequences for colours and titles. */
export function stripAnsi (text) {
  return text.replace(ansiSequences, '')
}
