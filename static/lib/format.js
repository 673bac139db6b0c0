const second = 1000
const minute = 60 * second
const hour = 60 * minute

/** `40 ms`, `0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`. */
export function formatDuration (ms) {
  if (ms > 0 && ms < 100) return `${Math.round(ms)} ms`
  if (ms < 10 * second) return `${(ms / second).toFixed(1)} s`
  if (ms < minute) return `${Math.round(ms / second)} s`
  if (ms < hour) {
    const seconds = Math.floor(ms % minute / second)
    return `${Math.floor(ms / minute)} min${seconds > 0 ? ` ${seconds} s` : ''}`
  }
  const minutes = Math.floor(ms % hour / minute)
  return `${Math.floor(ms / hour)} h${minutes > 0 ? ` ${minutes} min` : ''}`
}

/** A duration in one unit, so that a countdown does not flicker: `59 min`; below two minutes in seconds. */
export function approximateDuration (ms) {
  if (ms < 2 * minute) return `${Math.max(0, Math.round(ms / second))} s`
  if (ms < 2 * hour) return `${Math.floor(ms / minute)} min`
  return `${Math.floor(ms / hour)} h`
}

export function formatCost (usd) {
  return `$${usd.toFixed(usd < 0.1 ? 4 : 2)}`
}

/** `25`, `1.2k`, `3.4M`. */
export function formatCount (number) {
  if (number < 1000) return String(number)
  return number < 1e6 ? `${(number / 1000).toFixed(1)}k` : `${(number / 1e6).toFixed(1)}M`
}

/** The tokens of a prompt, with those read from or written to the cache, of a usage of the model API. */
export function promptTokens (usage) {
  const parts = ['input_tokens', 'cache_creation_input_tokens', 'cache_read_input_tokens']
  return parts.reduce((sum, part) => sum + (Number(usage[part]) || 0), 0)
}

/** `0 B`, `12 kB`, `3.4 MB`: decimal units, as in file managers. */
export function formatBytes (number) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, number)) / 3))
  const value = number / 1000 ** power
  return `${power > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[power]}`
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
