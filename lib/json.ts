/** Length of a value as JSON; Infinity when it is nested too deeply for `JSON.stringify`. */
export function jsonLength (value: object): number {
  try {
    return JSON.stringify(value).length
  } catch {
    return Infinity
  }
}

/** A value that was parsed, if it is an object; undefined if it is anything else. */
export function toRecord (value: unknown): Record<string, unknown> | undefined {
  const isRecord = typeof value === 'object' && value !== null && !Array.isArray(value)
  return isRecord ? value as Record<string, unknown> : undefined
}
