import { basename } from 'node:path'
import { shellQuote } from '../lib/shell.js'
import type { JoinedNetwork } from './network.js'
import { toolboxCommand } from './toolbox.js'
import { ContainerError } from './types.js'

/**
 * Docker's default capabilities without mknod, sys_chroot and net_raw: no process inside may make devices or mounts, or
 * sniff the host's network.
 */
export const capabilities = ['chown', 'dac_override', 'fowner', 'fsetid', 'kill', 'setgid', 'setuid', 'setpcap', 'net_bind_service',
  'setfcap', 'audit_write']

export interface OverlayMount { path: string, lower: string[], upper: string, work: string }

/** A volume as one container sees it. */
export interface VolumeView {
  /** The mount point in the container. */
  path: string
  /** Where it is mounted first, out of the container's reach; it is then bind-mounted at `path`. */
  staging: string
  generation: string
  upper: string
  work: string
  readOnly: boolean
}

export interface Layout {
  root: string
  toolbox: string
  hostname: string
  userNamespace: boolean
  /** The machine's, none but a loopback of its own, or one to join. */
  network: 'host' | 'none' | JoinedNetwork
  /** The first is the root itself. */
  overlays: OverlayMount[]
  volumes: VolumeView[]
  workdir: string
  resolvConf: boolean
  /** Whether the first process reaps orphans. */
  reaps: boolean
  /** Whether volumes have neither hard links nor FIFOs nor locks. */
  plainVolumes: boolean
  /** Files in which each process of the container has to write its id, for its limits. */
  cgroups: string[]
}

/** Makes the shell that reads it, and what it starts, subject to limits; without them, nothing is to run. */
export const joinCgroups = (files: string[]): string => files.map((file) =>
  `echo $$ > ${shellQuote(file)} || { echo 'the limits of the sandbox could not be set' >&2; exit 126; }`).join('\n')

export function overlayCommand ({ path, lower, upper, work }: OverlayMount, userNamespace: boolean): string {
  const escape = (directory: string) => directory.replaceAll('\\', '\\\\').replaceAll(':', '\\:')
  const layers = lower.map(escape).join(':')
  const flavour = userNamespace ? 'userxattr' : 'redirect_dir=off,metacopy=off'
  return `mount -t overlay -o ${shellQuote(`nodev,lowerdir=${layers},upperdir=${escape(upper)},workdir=${escape(work)},${flavour}`)} overlay ${shellQuote(path)}`
}

export function viewCommand (view: VolumeView, userNamespace: boolean): string {
  const { staging, generation, upper, work, readOnly } = view
  if (!readOnly) return overlayCommand({ path: staging, lower: [generation], upper, work }, userNamespace)
  return `mount -o bind,ro,nosuid,nodev ${shellQuote(generation)} ${shellQuote(staging)}`
}

/**
 * Shell function: changes to a directory below another, name by name, creating what is missing and refusing links.
 * The script sees the host's files, so a link planted by an image, a volume or a process inside could lead there.
 */
export const enter = `enter () {
  at=$1; shift; cd -P "$at"
  for name; do
    [ -d "./$name" ] || mkdir "./$name"
    cd -P "./$name"; at=$at/$name
    [ "$(pwd -P)" = "$at" ] || { echo "$name is a link" >&2; exit 1; }
  done
}`

export const steps = (path: string) => path.split('/').filter(Boolean).map(shellQuote)

const noDirectoryStatus = 44

/**
 * Shell commands: the same for a directory that is to be there already. Where it is not, or a link leads there, the
 * script ends; {@link withoutDirectory} tells that. @param names quoted
 */
export const enterExisting = (root: string, names: string[]): string => `existing () {
  at=$1; shift; cd -P "$at"
  for name; do
    cd -P "./$name" 2>/dev/null || return 1; at=$at/$name
    [ "$(pwd -P)" = "$at" ] || return 1
  done
}
existing ${shellQuote(root)} ${names.join(' ')} || exit ${noDirectoryStatus}`

/** What a script has failed with, if there was no such directory. */
export function withoutDirectory (path: string, { code }: Error & { code?: unknown }): ContainerError | undefined {
  if (code !== noDirectoryStatus) return undefined
  return new ContainerError('failed', `${path} is not a directory in the sandbox, or a link leads there`)
}

/** Builds the root in a mount namespace with the host's view, and the network. Name servers are in `$names` then. */
export function rootScript ({ root, toolbox, overlays, userNamespace, network, cgroups }: Layout): string {
  const at = (path: string) => shellQuote(`${root}${path}`)
  const own = ['dev', 'proc', 'sys', 'tmp', 'run', '__modal', ...overlays.slice(1).map(({ path }) => basename(path))]
  return `set -e
${joinCgroups(cgroups)}
umask 022
${enter}
mount --make-rprivate /
${overlayCommand(overlays[0]!, userNamespace)}
mount --make-shared ${at('')}
cd ${at('')}
for name in ${own.join(' ')}; do
  [ -d $name ] && [ ! -L $name ] || { rm -rf ./$name; mkdir $name; }
done
chmod 1777 tmp
${overlays.slice(1).map((overlay) => overlayCommand(overlay, userNamespace)).join('\n')}
mount -o bind,ro,nosuid,nodev ${shellQuote(toolbox)} ${at('/__modal')}
cd /
${typeof network === 'object' ? network.script : 'names=$(cat /etc/resolv.conf 2>/dev/null || true)'}`
}

/** Prefix of a command line, quoted: what follows runs in that network. */
export const inNetwork = (network: Layout['network']): string =>
  typeof network === 'object' ? `nsenter --net=${shellQuote(network.file)} ` : ''

/**
 * What the first process of a container runs, without privileges and with the host's name servers as its argument: it
 * makes what the image may lack, then reaps orphans, if it is to. In the container's own view, no link of the image
 * leads out.
 */
export function firstScript ({ workdir, resolvConf, reaps }: Layout): string {
  const tool = (name: string) => toolboxCommand(name).join(' ')
  const sleep = tool('sleep')
  const forEver = reaps ? `while :; do ${sleep} 86400 & wait $!; done` : `exec ${sleep} infinity`
  return `exec </dev/null
${resolvConf ? `{ ${tool('mkdir')} -p /etc && ${tool('rm')} -f /etc/resolv.conf && printf '%s\\n' "$1" > /etc/resolv.conf; } 2>/dev/null || true` : ''}
${tool('mkdir')} -p ${shellQuote(workdir)} || exit
trap : HUP INT TERM
echo ready
exec >/dev/null 2>&1
${forEver}`
}

/** The end of a supervisor's script: waits for what it started last, and then for its own end. */
export const waitForEnd = `wait $! || true
echo ended
read -r line || true
`
