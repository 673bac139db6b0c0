import { shellQuote } from '../../lib/shell.js'
import {
  capabilities, enter, firstScript, inNetwork, rootScript, steps, viewCommand, waitForEnd, type Layout, type VolumeView
} from '../setup.js'
import { toolboxCommand } from '../toolbox.js'
import { withoutKeys } from './no-keys.js'

/** Prefix of a command line: what follows runs with those capabilities at most. */
export const confined = [...toolboxCommand('setpriv'),
  '--bounding-set', `-all,${capabilities.map((name) => `+${name}`).join(',')}`, '--inh-caps', '-all']

interface NamespaceLayout extends Layout {
  /** A path that will stand for the user namespace of the container's processes. */
  namespace: string
  perl: string
}

/**
 * What the supervisor runs: in a mount namespace with the host's view, it builds the root with its mounts, makes the
 * container's own namespaces, starts its first process and waits. Mounts made below the root later propagate into the
 * container.
 */
export function outerScript (layout: NamespaceLayout): string {
  const { root, namespace, perl, volumes, userNamespace, network } = layout
  const at = (path: string) => shellQuote(`${root}${path}`)
  return `${rootScript(layout)}
mount -t tmpfs -o mode=755,nosuid,size=64m dev ${at('/dev')}
cd ${at('/dev')}
for name in null zero full random urandom tty; do
  : > $name; mount -o bind,ro,nosuid,noexec /dev/$name $name
done
mkdir pts shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,nosuid,noexec devpts pts
mount -t tmpfs -o mode=1777,nosuid,nodev shm shm
ln -s pts/ptmx ptmx; ln -s /proc/self/fd fd; ln -s fd/0 stdin; ln -s fd/1 stdout; ln -s fd/2 stderr
cd /
${userNamespace ? '' : `mount -t sysfs -o ro,nosuid,nodev,noexec sysfs ${at('/sys')}`}
${volumes.map((view) => `${viewCommand(view, userNamespace)}
enter ${at('')} ${steps(view.path).join(' ')}; mount -c --bind ${shellQuote(view.staging)} .; cd /`).join('\n')}
${innerUserNamespace(namespace)}
exec 9</
cd ${at('')}
setpriv --pdeathsig KILL ${inNetwork(network)}unshare -m -p -i -u${network === 'none' ? ' -n' : ''} --propagation unchanged --fork --kill-child \
  ${withoutKeys(perl).map(shellQuote).join(' ')} sh -c 'exec 8</; exec nsenter --root=/proc/self/fd/9 env PWD=/proc/self/cwd sh -c "$@"' sh ${shellQuote(innerScript(layout))} sh "$names" &
${waitForEnd}`
}

/**
 * Makes the user namespace that the container's processes live in, without a process to stay: it owns none of their
 * other namespaces, so that not even all capabilities in it allow a mount or a look outside. It has the ids of the
 * namespace around it, and allows no namespaces below.
 */
const innerUserNamespace = (file: string) => `ids () { while read -r inside outside count; do echo "$inside $inside $count"; done < /proc/self/$1; }
unshare -U sh -c 'echo $$; kill -STOP $$' | {
  read -r holder
  users=$(ids uid_map) groups=$(ids gid_map)
  echo "$users" > /proc/$holder/uid_map
  echo "$groups" > /proc/$holder/gid_map
  : > ${shellQuote(file)}; mount --bind /proc/$holder/ns/user ${shellQuote(file)}
  kill -PIPE $holder; kill -CONT $holder
}
nsenter --user=${shellQuote(file)} --preserve-credentials sh -c 'for limit in /proc/sys/user/max_*_namespaces; do echo 0 > $limit; done'`

/**
 * What becomes the container's first process: a process of the host in the new namespaces that keeps the supervisor's
 * root, open as descriptor 9, when the container's becomes the root of its mount namespace (8 is that namespace's
 * first). Its working directory is the container's root. Nothing of the container's own files is executed, or read as a
 * program's configuration, before the last line has given up every privilege outside of the inner user namespace.
 */
function innerScript (layout: NamespaceLayout): string {
  const { namespace, hostname, network, userNamespace } = layout
  return `set -e
exec <dev/null
mount -c --make-rslave .
mount -c -t proc -o nosuid,nodev,noexec proc proc
{ echo ${shellQuote(hostname)} > proc/sys/kernel/hostname || hostname ${shellQuote(hostname)}; } 2>/dev/null || true
${network !== 'host' ? '{ ip link set lo up; echo 0 > proc/sys/net/ipv4/ip_unprivileged_port_start; } 2>/dev/null || true' : ''}
for name in sys sysrq-trigger irq bus fs acpi scsi asound latency_stats mtrr; do
  [ ! -e proc/$name ] || mount -c -o bind,ro,nosuid,nodev,noexec proc/$name proc/$name
done
for name in kcore keys timer_list sched_debug; do [ ! -e proc/$name ] || mount -c --bind dev/null proc/$name; done
nsenter --root=/proc/self/fd/8 pivot_root . __modal/old
umount -c -l __modal/old
exec 8<&- 9<&-
exec env -i nsenter --mount=/proc/self/ns/mnt --user=${shellQuote(namespace)} ${userNamespace ? '--preserve-credentials ' : ''}\
  ${confined.join(' ')} ${toolboxCommand('sh').join(' ')} -c ${shellQuote(firstScript(layout))} sh "$1"
`
}

/** Exit status of {@link remountScript} when the container has lost the volume. */
export const volumeLostStatus = 99

/**
 * Replaces the view of a volume with another; fails, and changes nothing, while files on it are open. Between unmount
 * and mount the container can change the mount point, so it is entered again, and the mount goes on the directory held.
 */
export function remountScript (before: VolumeView, after: VolumeView, root: string, userNamespace: boolean): string {
  const names = steps(before.path)
  return `set -e
${enter}
root=${shellQuote(root)} new=${shellQuote(after.staging)}
${viewCommand(after, userNamespace)}
trap 'cd /; umount -l "$new"' EXIT
enter "$root" ${names.slice(0, -1).join(' ')}
umount -c ./${names.at(-1)}
trap 'exit ${volumeLostStatus}' EXIT
enter "$root" ${names.join(' ')}
mount -c --bind "$new" .
trap - EXIT
cd /
umount -l ${shellQuote(before.staging)}
`
}
