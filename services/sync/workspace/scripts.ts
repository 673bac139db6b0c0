import { cleanEnvironment, loadScript, quote } from '../../modal/script.js'
import { WorkspaceLost } from './workspace.js'

/** Exit codes of the scripts, beside those of the commands they call. */
export const scriptExit = { noRoot: 3, noTools: 8, cut: 9 }

const load = (name: string) => loadScript(import.meta.url, name)
const prologue = cleanEnvironment + load('prologue.sh')

/** What runs in the sandbox; each file says how it is called and what it prints. */
export const scripts = {
  list: prologue + load('list.sh'),
  read: prologue + load('read.sh'),
  readLarge: prologue + load('read-large.sh'),
  stat: prologue + load('stat.sh'),
  write: cleanEnvironment + load('write.sh'),
  remove: prologue + load('remove.sh'),
  hash: prologue + load('hash.sh')
}

/** The command that runs a script with a workspace and other arguments. */
export function scriptCommand (script: string, ...args: string[]): string[] {
  return ['sh', '-c', script, 'sync', ...args]
}

/** The command that reads a script from standard input, with lines behind it that call its functions. */
export function inputCommand (root: string): string[] {
  return ['sh', '-s', '--', root]
}

/** A path of the workspace as the scripts take it: never an option, never anything but itself. */
export function quotePath (path: string): string {
  return quote(`./${path}`)
}

/** Lines that call a function of a script with paths, at most `most` and `bytes` of them at once. */
export function calls (name: string, paths: string[], most = 256, bytes = 64 * 1024): string {
  const lines: string[] = []
  let words: string[] = []
  let length = 0
  for (const path of paths) {
    const word = quotePath(path)
    if (words.length >= most || length + word.length > bytes) {
      lines.push(`${name} ${words.join(' ')}\n`)
      words = []
      length = 0
    }
    words.push(word)
    length += word.length
  }
  if (words.length > 0) lines.push(`${name} ${words.join(' ')}\n`)
  return lines.join('')
}

/** Why a script ended before it had printed everything. */
export function lostReason (exitCode: number, stderr: string): WorkspaceLost {
  if (exitCode === scriptExit.noRoot) return new WorkspaceLost('the workspace directory does not exist or may not be read')
  if (exitCode === scriptExit.noTools) return new WorkspaceLost('the image lacks find, stat, tar or cat')
  return new WorkspaceLost(`a command in the sandbox ended with ${exitCode}: ${stderr.slice(0, 300)}`)
}
