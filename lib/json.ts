/** Characters of a value as JSON; Infinity when it is nested so deep that it could be read, but not written again. */
export function jsonLength (value: object): number {
  try {
    return JSON.stringify(value).length
  } catch {
    return Infinity
  }
}
