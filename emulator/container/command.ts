import { shellQuote } from '../lib/shell.js'
import { shellForScript, toolboxCommand } from './toolbox.js'
import { ContainerError, isRoot, type ExecSpec, type PtySize } from './types.js'

/** The SDK's name for the program behind `sandbox.filesystem`. */
export const fsTools = '/__modal/.bin/modal-sandbox-fs-tools'

/** What a container runs, from its toolbox on, and the shell script that is read on the way. */
interface CommandLine { argv: string[], preamble: string }

/** How the preamble reaches the last shell, and how that shell gets rid of it. */
export interface Way { read: string, forget: string }

export const viaDescriptor: Way = { read: '. /proc/self/fd/3', forget: ': > /proc/self/fd/3\nexec 3<&-' }

/** For a container that gets no other descriptors: in that many variables. */
export function inVariables (names: string[]): Way {
  return { read: `eval "${names.map((name) => `$${name}`).join('')}"`, forget: `unset ${names.join(' ')}` }
}

/**
 * The emulator's own programs run first, with an empty environment; the last of them, a shell, reads the command's
 * environment and arguments from the preamble, as the user of the command. Values of variables thus appear in no
 * argument list, and a user's variables (LD_PRELOAD, NODE_OPTIONS) affect the command alone.
 */
export function commandLine ({ command, env = {}, user, workdir = '/', pty, stdout, stderr }: ExecSpec, way: Way): CommandLine {
  const shell = (script: string, ...args: string[]) => [...toolboxCommand('sh'), '-c', script, 'sh', ...args]
  // It must be the container's null device: the host's could be changed through its descriptor.
  const silence = `${stdout === 'ignore' ? 'exec >/dev/null; ' : ''}${stderr === 'ignore' ? 'exec 2>/dev/null; ' : ''}`
  if (command[0] === fsTools) {
    const tools = [...toolboxCommand('node'), '/__modal/rt/fs-tools/main.mjs', ...command.slice(1)]
    return { argv: shell(`${silence}exec 3<&-; exec "$@"`, ...tools), preamble: '' }
  }
  const run = `${way.read}; exec "$@"`
  const asUser = [...toolboxCommand('sh'), '/__modal/rt/as-user.sh', user ?? '', ...shell(run)]
  const last = `unset OLDPWD; ${isRoot(user) ? run : `exec ${asUser.map(shellQuote).join(' ')}`}`
  const start = `${silence}cd "$1" || exit 126; umask 022; ${pty === undefined ? last : terminal(last, pty)}`
  return { argv: shell(start, workdir), preamble: preamble(command, env, way) }
}

/** Runs the command under `script`, which gives it a terminal from the container's own devpts. */
function terminal (last: string, { rows, columns }: PtySize): string {
  const size = `${toolboxCommand('stty').join(' ')} rows ${rows} cols ${columns}`
  const names = Object.keys(shellForScript).join(' ')
  const settings = Object.entries(shellForScript).map((pair) => pair.join('=')).join(' ')
  return `export ${settings}; exec ${toolboxCommand('script').join(' ')} -qefc ${shellQuote(`${size}; unset ${names}; ${last}`)} /dev/null`
}

/**
 * In braces, because a shell reads such a block to its end before it runs it: the file can be emptied and closed before
 * the command starts. `command` keeps the shell from exiting when it refuses to set a variable that it reserves.
 */
function preamble (command: string[], env: Record<string, string>, { forget }: Way): string {
  const invalid = Object.keys(env).find((name) => !/^[A-Za-z_]\w*$/.test(name))
  if (invalid !== undefined) throw new ContainerError('failed', `Invalid environment variable name: '${invalid}'`)
  const variables = Object.entries(env).map(([name, value]) => `command export ${name}=${shellQuote(value)}`)
  return `{
{ :
${variables.join('\n')}
} 2>/dev/null
${forget}
set -- ${command.map(shellQuote).join(' ')}
}
`
}
