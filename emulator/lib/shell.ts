/** A text as one word of a shell. */
export function shellQuote (text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
