import { shellQuote } from '../lib/shell.js'
import { confined } from './setup.js'
import { inside, shellForScript } from './toolbox.js'
import { ContainerError, type ExecSpec, type PtySize } from './types.js'

/** The SDK's name for the program behind `sandbox.filesystem`. */
const fsTools = '/__modal/.bin/modal-sandbox-fs-tools'

/** A command as it enters a container, and the script it reads from descriptor 3 when it is there. */
export interface CommandLine { argv: string[], handover: string }

/**
 * The emulator's own programs lead to the command with a clean environment; the last of them, a shell, takes the
 * command's environment and arguments from the handover. So values of variables are in no argument, and what a
 * user's variables do to programs they do to the command alone.
 */
export function commandLine ({ command, env = {}, workdir = '/', pty, stdout, stderr }: ExecSpec): CommandLine {
  const shell = (script: string, ...args: string[]) => [...confined, ...inside('sh'), '-c', script, 'sh', ...args]
  // The null device must be the container's: the host's could be changed through its descriptor.
  const silence = `${stdout === 'ignore' ? 'exec >/dev/null; ' : ''}${stderr === 'ignore' ? 'exec 2>/dev/null; ' : ''}`
  if (command[0] === fsTools) {
    const tools = [...inside('node'), '/__modal/rt/fs-tools.mjs', ...command.slice(1)]
    return { argv: shell(`${silence}exec 3<&-; exec "$@"`, ...tools), handover: '' }
  }
  const last = 'unset OLDPWD; . /proc/self/fd/3; exec "$@"'
  const start = `${silence}cd "$1" || exit 126; umask 022; ${pty === undefined ? last : terminal(last, pty)}`
  return { argv: shell(start, workdir), handover: handover(command, env) }
}

/** `script` gives the command a terminal of the container's own. */
function terminal (last: string, { rows, columns }: PtySize): string {
  const size = `${inside('stty').join(' ')} rows ${rows} cols ${columns}`
  const names = Object.keys(shellForScript).join(' ')
  const settings = Object.entries(shellForScript).map((pair) => pair.join('=')).join(' ')
  return `export ${settings}; exec ${inside('script').join(' ')} -qefc ${shellQuote(`${size}; unset ${names}; ${last}`)} /dev/null`
}

/**
 * In braces, because a shell reads such a block as a whole: the file can be emptied and closed before the command
 * starts. `command` keeps a shell alive that thinks a variable its own.
 */
function handover (command: string[], env: Record<string, string>): string {
  const wrong = Object.keys(env).find((name) => !/^[A-Za-z_]\w*$/.test(name))
  if (wrong !== undefined) throw new ContainerError('failed', `Invalid environment variable name: '${wrong}'`)
  const variables = Object.entries(env).map(([name, value]) => `command export ${name}=${shellQuote(value)}`)
  return `{
{ :
${variables.join('\n')}
} 2>/dev/null
: > /proc/self/fd/3
exec 3<&-
set -- ${command.map(shellQuote).join(' ')}
}
`
}
