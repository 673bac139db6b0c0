import { join } from 'node:path'
import { shellQuote } from '../../lib/shell.js'
import { capabilities, firstScript, inNetwork, rootScript, steps, viewCommand, waitForEnd, type Layout } from '../setup.js'
import { toolboxCommand } from '../toolbox.js'

/** Linux limits a variable to 128 KiB; a character has up to 3 bytes. */
const charactersPerVariable = 40_000
const bounded = capabilities.map((name) => `CAP_${name.toUpperCase()}`)

/** Names of variables that have room for what quoting makes of these texts. */
export function variablesFor (texts: string[]): string[] {
  const length = texts.reduce((sum, text) => sum + 4 * text.length + 100, 1000)
  return Array.from({ length: Math.ceil(length / charactersPerVariable) }, (_, index) => `__modal_${index}`)
}

/** An OCI process that finds a text in variables. */
export function process (args: string[], text = '', variables: string[] = []): object {
  const part = (index: number) => text.slice(index * charactersPerVariable, (index + 1) * charactersPerVariable)
  return {
    terminal: false,
    user: { uid: 0, gid: 0 },
    args,
    env: variables.map((name, index) => `${name}=${part(index)}`),
    cwd: '/',
    capabilities: { bounding: bounded, effective: bounded, permitted: bounded }
  }
}

/** The OCI configuration of a container. `/tmp` is in gVisor's memory: FIFOs can't be made on the host's files. */
export function configuration (layout: Layout): object {
  const { root, hostname, volumes } = layout
  const mount = (destination: string, type: string, ...options: string[]) =>
    ({ destination, type, source: type, options })
  return {
    ociVersion: '1.0.2',
    process: process([...toolboxCommand('sh'), '-c', firstScript({ ...layout, resolvConf: false })]),
    root: { path: root, readonly: false },
    hostname,
    mounts: [
      mount('/proc', 'proc'), mount('/sys', 'sysfs', 'ro'), mount('/dev', 'tmpfs'), mount('/dev/pts', 'devpts'),
      mount('/dev/shm', 'tmpfs', 'mode=1777'), mount('/tmp', 'tmpfs', 'mode=1777'),
      ...volumes.map(({ path, staging, readOnly }) => (
        { destination: path, type: 'bind', source: staging, options: ['rbind', readOnly ? 'ro' : 'rw'] }))
    ],
    linux: { namespaces: ['pid', 'ipc', 'uts', 'mount'].map((type) => ({ type })) }
  }
}

/**
 * What the supervisor runs: it builds the root and the views of the volumes, starts gVisor on them, and waits. `runsc
 * run` gives its standard streams to another user. Output and errors are the supervisor's own; the input has to be an
 * empty file, because a shell gives what it starts in the background the machine's /dev/null.
 */
export function gvisorScript (layout: Layout, directory: string, runsc: string[], id: string): string {
  const { root, volumes, userNamespace, resolvConf, network } = layout
  const at = shellQuote(root)
  const empty = shellQuote(join(directory, 'empty'))
  return `${rootScript(layout)}
${resolvConf ? `enter ${at} etc; rm -f ./resolv.conf; printf '%s\\n' "$names" > ./resolv.conf; cd /` : ''}
${volumes.map((view) => `${viewCommand(view, userNamespace)}
enter ${at} ${steps(view.path).join(' ')}; cd /`).join('\n')}
: > ${empty}
setpriv --pdeathsig KILL ${inNetwork(network)}${[...runsc, 'run', '--bundle', join(directory), id].map(shellQuote).join(' ')} < ${empty} &
${waitForEnd}`
}
