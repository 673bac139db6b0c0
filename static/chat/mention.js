/** How the CLI reads the mention of a file or folder of the workspace. */
export function mention (path) {
  return /\s/.test(path) ? `@"${path}"` : `@${path}`
}
