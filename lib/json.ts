/** Length of a value as JSON; Infinity when it is nested too deeply for `JSON.stringify`. */
export function jsonLength (value: object): number {
  try {
    return JSON.stringify(value).length
  } catch {
    return Infinity
  }
}
