/** One instruction of a Dockerfile: the keyword in upper case, and the rest of the line. */
interface Instruction { keyword: string, text: string }

/** A build that can't continue; the message is for the author of the Dockerfile. */
export class BuildError extends Error {
  override name = 'BuildError'
}

/** Splits lines into instructions: joins continuations, drops comments and empty lines. */
export function parseDockerfile (lines: string[]): Instruction[] {
  const text = lines.join('\n').split('\n').filter((line) => !/^\s*#/.test(line)).join('\n').replace(/\\[ \t]*\n/g, '')
  return text.split('\n').map((line) => line.trim()).filter(Boolean).map((line) => {
    const [, keyword, rest] = /^(\S+)\s*(.*)$/s.exec(line)!
    return { keyword: keyword!.toUpperCase(), text: rest! }
  })
}

/** `ENV A=1 B="two words"`, or the old `ENV A 1`; `$NAME` and `${NAME}` expand to variables set before. */
export function parseEnv (text: string, known: Record<string, string>): Record<string, string> {
  if (!/^[A-Za-z_]\w*=/.test(text)) {
    const [, name, value] = /^([A-Za-z_]\w*)\s+(.*)$/s.exec(text) ?? []
    if (name === undefined) throw new BuildError(`ENV ${text}: expected NAME=value`)
    return { [name]: expand(value!, known) }
  }
  const pairs = [...text.matchAll(/\b([A-Za-z_]\w*)=("(?:[^"\\]|\\.)*"|'[^']*'|(?:[^\s\\]|\\.)*)/g)]
  return Object.fromEntries(pairs.map(([, name, value]) => [name!, unquote(value!, known)]))
}

function unquote (value: string, known: Record<string, string>): string {
  if (value.startsWith("'")) return value.slice(1, -1)
  const bare = value.startsWith('"') ? value.slice(1, -1) : value
  return expand(bare, known).replace(/\\(.)/g, '$1')
}

export function expand (text: string, known: Record<string, string>): string {
  return text.replace(/\$(?:\{(\w+)\}|(\w+))/g, (_match, braced, plain) => known[braced ?? plain] ?? '')
}

/** `["a", "b"]` is an argv; anything else goes to the shell. */
export function parseCommand (text: string, shell: string[]): string[] {
  if (!text.startsWith('[')) return [...shell, text]
  try {
    const argv: unknown = JSON.parse(text)
    if (Array.isArray(argv) && argv.every((word) => typeof word === 'string')) return argv
  } catch {
    // Not JSON: like Docker, leave it to the shell.
  }
  return [...shell, text]
}
