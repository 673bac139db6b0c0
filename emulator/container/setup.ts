import { inside } from './tools.js'

/** docker's default capabilities without mknod and sys_chroot: nobody inside may make devices or mounts. */
const kept = ['chown', 'dac_override', 'fowner', 'fsetid', 'kill', 'setgid', 'setuid', 'setpcap', 'net_bind_service', 'net_raw',
  'setfcap', 'audit_write']

/** Runs the rest of a command line with those capabilities at most. */
export const confined = [...inside('setpriv'), '--bounding-set', `-all,${kept.map((name) => `+${name}`).join(',')}`, '--inh-caps', '-all']

export interface OverlayMount { path: string, lower: string[], upper: string, work: string }
export interface VolumeView { path: string, generation: string, upper: string, work: string, readOnly: boolean }

export interface Layout {
  root: string
  toolbox: string
  hostname: string
  userNamespace: boolean
  network: 'host' | 'none'
  /** The first is the root itself. */
  overlays: OverlayMount[]
  volumes: VolumeView[]
  workdir: string
  resolvConf: boolean
}

export const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

export function overlayCommand ({ path, lower, upper, work }: OverlayMount, userNamespace: boolean): string {
  const escape = (directory: string) => directory.replaceAll('\\', '\\\\').replaceAll(':', '\\:')
  const layers = lower.map(escape).join(':')
  const flavour = userNamespace ? 'userxattr' : 'redirect_dir=off,metacopy=off'
  return `mount -t overlay -o ${quote(`nodev,lowerdir=${layers},upperdir=${upper},workdir=${work},${flavour}`)} overlay ${quote(path)}`
}

export function volumeCommand (view: VolumeView, root: string, userNamespace: boolean): string {
  const path = `${root}${view.path}`
  const { generation, upper, work } = view
  if (!view.readOnly) return overlayCommand({ path, lower: [generation], upper, work }, userNamespace)
  return `mount --bind ${quote(view.generation)} ${quote(path)} && mount -o remount,bind,ro,nosuid,nodev ${quote(path)}`
}

/**
 * What the keeper runs: in a mount namespace with the host's view it builds the root and its mounts, then starts the
 * container's own namespaces below it and waits. Mounts made under the root later still reach the container.
 */
export function outerScript (layout: Layout): string {
  const { root, toolbox, overlays, volumes, userNamespace, network } = layout
  const at = (path: string) => quote(`${root}${path}`)
  return `set -e
mount --make-rprivate /
${overlayCommand(overlays[0]!, userNamespace)}
mount --make-shared ${at('')}
mkdir -p ${['/dev', '/proc', '/sys', '/tmp', '/run', '/__modal', layout.workdir, ...volumes.map(({ path }) => path)].map(at).join(' ')}
chmod 1777 ${at('/tmp')}
${overlays.slice(1).map((overlay) => overlayCommand(overlay, userNamespace)).join('\n')}
${layout.resolvConf ? `mkdir -p ${at('/etc')}; cat /etc/resolv.conf > ${at('/etc/resolv.conf')} 2>/dev/null || true` : ''}
mount -t tmpfs -o mode=755,nosuid,size=64m dev ${at('/dev')}
cd ${at('/dev')}
for name in null zero full random urandom tty; do : > $name; mount --bind /dev/$name $name; done
mkdir pts shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,nosuid,noexec devpts pts
mount -t tmpfs -o mode=1777,nosuid,nodev shm shm
ln -s pts/ptmx ptmx; ln -s /proc/self/fd fd; ln -s fd/0 stdin; ln -s fd/1 stdout; ln -s fd/2 stderr
cd /
mount --bind ${quote(toolbox)} ${at('/__modal')}
mount -o remount,bind,ro,nosuid,nodev ${at('/__modal')}
${userNamespace ? '' : `mount -t sysfs -o ro,nosuid,nodev,noexec sysfs ${at('/sys')}`}
${volumes.map((view) => `mkdir -p ${at(view.path)}; ${volumeCommand(view, root, userNamespace)}`).join('\n')}
mkdir -p ${at(layout.workdir)}
setpriv --pdeathsig KILL unshare -m -p -i -u${network === 'none' ? ' -n' : ''} --propagation unchanged --fork --kill-child sh -c ${quote(innerScript(layout))} &
wait $!
`
}

/** The container's side: its own /proc, the pivot into its root, and a first process that reaps what is orphaned. */
function innerScript ({ root, hostname, network }: Layout): string {
  return `set -e
mount --make-rslave /
cd ${quote(root)}
mount -t proc -o nosuid,nodev,noexec proc proc
echo ${quote(hostname)} > proc/sys/kernel/hostname || true
for name in sys sysrq-trigger irq bus fs; do
  [ -e proc/$name ] || continue
  mount --bind proc/$name proc/$name; mount -o remount,bind,ro,nosuid,nodev,noexec proc/$name
done
for name in kcore keys timer_list; do [ ! -e proc/$name ] || mount --bind /dev/null proc/$name; done
${network === 'none' ? 'ip link set lo up 2>/dev/null || true' : ''}
pivot_root . __modal/old
cd /
${inside('umount').join(' ')} -l /__modal/old
exec </dev/null
exec ${confined.join(' ')} ${inside('sh').join(' ')} -c ${quote(`trap : HUP INT TERM
echo ready
exec >/dev/null 2>&1
while :; do ${inside('sleep').join(' ')} 86400 & wait $!; done`)}
`
}
