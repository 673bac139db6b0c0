/** What runs in a container of the local mode tries to get out. Each answer is the host's own look at itself. */
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import type { Container, Process } from '../../emulator/container/types.js'
import { repeatAsUser } from '../helpers/as-user.js'
import { installBusybox, noBusybox } from '../helpers/busybox.js'
import {
  eventually, hostDirectory, path, processesWith, readHost, runtimeFor, seen, sh, startContainer, text
} from '../helpers/containers.js'
import { hostileLibrary } from '../helpers/hostile-library.js'
import { isolation, repeatOnGvisor } from '../helpers/isolation.js'
import { call32 } from '../helpers/native.js'
import { loader } from '../helpers/spawn-node.js'

const { runtime, directory, skip } = await runtimeFor(t)
const otherCpu = process.arch === 'x64' ? false : 'the library is made for x86-64'
const asRoot = process.getuid!() === 0
/** Its processes are no processes of the host. */
const gvisor = isolation === 'runsc'

/** A number that no other command line holds. */
const mark = () => `9${Math.floor(Math.random() * 1e9)}`

async function volumeAt (path: string) {
  const volumeId = `vo-${randomUUID()}`
  await runtime.volumes.create(volumeId)
  return { volumeId, path, readOnly: false }
}

/** Runs scripts one after another; none may make the container's shell hang. */
async function attempt (container: Container, scripts: string[]): Promise<string> {
  const outputs = []
  for (const script of scripts) {
    const { out, err } = await sh(container, script, { timeoutSeconds: 20 })
    outputs.push(out, err)
  }
  return outputs.join('')
}

/** Everything that all containers share: names, sizes, modes, and when each was last written. */
async function shared (): Promise<string[]> {
  const roots = ['toolbox', 'local/root', 'local/usr', 'substitutes'].map((name) => join(directory, name))
  const names = (await Promise.all(roots.map(async (root) =>
    (await readdir(root, { recursive: true })).map((name) => join(root, name))))).flat()
  return await Promise.all([...roots, ...names].map(async (name) => {
    const { size, mode, uid, mtimeMs } = await lstat(name)
    return `${name} ${size} ${mode} ${uid} ${mtimeMs}`
  }))
}

const namespace = async (pid: number | string, kind: string) => await readlink(`/proc/${pid}/ns/${kind}`).catch(() => undefined)

/** The host's numbers of a container's processes. */
async function processesOf (container: Container): Promise<number[]> {
  const name = mark()
  const process = await container.exec({ command: ['sleep', name], timeoutSeconds: 60 })
  t.ok(await eventually(async () => (await processesWith(`sleep\0${name}`)).length > 0))
  const [found] = await processesWith(`sleep\0${name}`)
  const own = await namespace(found!, 'pid')
  globalThis.process.kill(found!, 'SIGKILL')
  await process.exited
  const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 0)
  const all = await Promise.all(pids.map((pid) => namespace(pid, 'pid')))
  return pids.filter((_pid, index) => all[index] === own)
}

/** The processes that hold the containers' mounts. */
async function supervisors (): Promise<number[]> {
  const own = await processesWith(join(directory, 'containers'))
  return (await processesWith('mount --make-rprivate')).filter((pid) => own.includes(pid))
}

/** Mounts of tests that may run at the same time. */
const ofOtherTests = /^\S+ \S+ \S+\/(full-disk|sync-s3fs)-/

/** Mounts as the host tells them: of this process, of the supervisors, and where possible of the container. */
async function mountsOf (container: Container): Promise<string> {
  const first = gvisor ? [] : (await processesOf(container)).slice(0, 1)
  const pids = [process.pid, ...await supervisors(), ...first]
  const texts = await Promise.all(pids.map(async (pid) => await readFile(`/proc/${pid}/mountinfo`, 'utf8').catch(() => '')))
  const mounts = texts.flatMap((text) => text.split('\n').map((line) => line.split(' ').slice(2).join(' ')))
    .filter((mount) => !ofOtherTests.test(mount))
  return [...new Set(mounts)].sort().join('\n')
}

/** Whether a command runs in the container; on gVisor only the container knows. */
async function runs (container: Container, name: string): Promise<boolean> {
  if (!gvisor) return (await processesWith(`sleep\0${name}`)).length > 0
  return (await sh(container, `cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o 'sleep ${name} '`, { timeoutSeconds: 20 })).out !== ''
}

/** That no process of the host's user namespaces is in the container's, or the other way round. */
async function assertUnprivileged (t: Test, pids: number[]) {
  if (gvisor) return t.same(pids, [], 'none is a process of the host')
  t.not(pids.length, 0)
  const found = new Set(await Promise.all(pids.map((pid) => namespace(pid, 'user'))))
  t.equal(found.size, 1, 'one user namespace')
  t.notOk(found.has(await namespace('self', 'user')), 'which is not the host\'s')
  for (const supervisor of await supervisors()) {
    t.notOk(found.has(await namespace(supervisor, 'user')), 'nor the supervisor\'s')
  }
}

/** What a program does that was taken over: it takes what it can, and stays. */
const takeOver = (name: string) => `#!/bin/sh
mount -t tmpfs escaped /mnt
mount -o remount,bind,rw /__modal && echo >> /__modal/rt/fs-tools/main.mjs
mount -t devtmpfs escaped /mnt
exec sleep ${name}
`

/** From here on, the next program that the dynamic loader starts is taken over. */
async function plant (container: Container, name: string) {
  const library = await container.exec({ command: ['/bin/sh', '-c', 'cat > /q.so; chmod 755 /q.so'] })
  await library.stdin.write(hostileLibrary('/payload'))
  library.stdin.end()
  await library.exited
  await sh(container, `cat > /payload <<'end'\n${takeOver(name)}end
    echo /q.so > /etc/ld.so.preload.new; mv /etc/ld.so.preload.new /etc/ld.so.preload`)
}

/** The first of these commands, which end by themselves, that does not end. */
async function firstTaken (start: () => Promise<Process>): Promise<Process> {
  for (;;) {
    const process = await start()
    if (await Promise.race([process.exited, sleep(3000)]) === undefined) return process
  }
}

t.test('A library that /etc/ld.so.preload names gets nothing at the next exec', { skip: skip || otherCpu }, async (t) => {
  const before = await shared()
  const container = await startContainer(runtime)
  const mounts = await mountsOf(container)
  for (const pty of [undefined, { rows: 24, columns: 80, term: 'xterm' }]) {
    const name = mark()
    await plant(container, name)
    const victim = await firstTaken(async () =>
      await container.exec({ command: ['true'], timeoutSeconds: 60, ...pty && { pty } }))
    t.ok(await eventually(async () => await runs(container, name)), 'it was loaded')
    await assertUnprivileged(t, await processesWith(`sleep\0${name}`))
    if (!gvisor) await assertUnprivileged(t, await processesOf(container))
    t.equal(await mountsOf(container), mounts)
    await sh(container, `pkill -9 -f ${name}`, { timeoutSeconds: 20 })
    await victim.exited
  }
  await container.stop()
  t.same(await shared(), before)
})

t.test('Nor when the image brings it, while the container is made', { skip: skip || otherCpu || noBusybox }, async (t) => {
  const before = await shared()
  const image = await mkdtemp(join(tmpdir(), 'hostile-image-'))
  const name = mark()
  await installBusybox(image)
  for (const directory of ['etc', 'mnt', 'lib64']) await mkdir(join(image, directory))
  await writeFile(join(image, 'q.so'), hostileLibrary('/payload'))
  await writeFile(join(image, 'payload'), takeOver(name))
  await writeFile(join(image, 'etc/ld.so.preload'), '/q.so\n')
  for (const file of ['q.so', 'payload', '']) await chmod(join(image, file), 0o755)
  const starting = startContainer(runtime, { rootfs: { base: { kind: 'directory', path: image }, layers: [] } })
  starting.catch(() => {})
  // There it stays, before the container is ready; only its end is to be seen.
  async function endTaken () {
    const found = async () => await processesWith(join(directory, 'containers'))
    t.ok(await eventually(async () => (await found()).length > 0))
    await sleep(2000)
    t.same(await processesWith(`sleep\0${name}`), [])
    for (const pid of await found()) process.kill(pid, 'SIGKILL')
    await starting.catch(() => {})
    t.same(await found(), [])
    t.same(await shared(), before)
  }
  if (gvisor) return await endTaken()
  t.ok(await eventually(async () => (await processesWith(`sleep\0${name}`)).length > 0), 'it was loaded')
  const taken = await processesWith(`sleep\0${name}`)
  await assertUnprivileged(t, taken)
  t.notMatch(await readFile(`/proc/${taken[0]}/mountinfo`, 'utf8'), /escaped/)
  for (const pid of taken) process.kill(pid, 'SIGKILL')
  await (await starting.catch(() => undefined))?.stop()
  t.same(await processesWith(name), [])
  t.same(await shared(), before)
})

t.test('Nor at a reload, a commit or the end; what was written before is kept', { skip: skip || otherCpu }, async (t) => {
  const before = await shared()
  const volume = await volumeAt('/data')
  const container = await startContainer(runtime, { volumes: [volume] })
  const name = mark()
  await sh(container, 'echo kept > /data/file')
  await plant(container, name)
  await container.commitVolumes()
  if (!gvisor) await container.reloadVolumes()
  await container.stop()
  t.same(await processesWith(name), [], 'nothing was taken over')
  t.match(await readHost(await runtime.volumes.acquire(volume.volumeId)), /file: kept/)
  t.same(await shared(), before)
})

t.test('Nothing that a sandbox can replace is needed to enter, to kill or to clean up', { skip }, async (t) => {
  const volume = await volumeAt('/data')
  const env = {
    PATH: '/hostile:/usr/bin:/bin', LD_PRELOAD: '/none', LD_LIBRARY_PATH: '/hostile', LOCPATH: '/hostile', TERMINFO: '/hostile'
  }
  const container = await startContainer(runtime, { volumes: [volume], env })
  const name = mark()
  await attempt(container, [
    'mkdir /hostile; for tool in kill umount nsenter setpriv sh sleep rm ps ls; do printf "#!/bin/busybox\\n" > /hostile/$tool; chmod +x /hostile/$tool; done',
    `echo data > /data/file; setsid sleep ${name} > /dev/null 2>&1 &`,
    'head -c 5000 /dev/urandom > /etc/ld.so.cache; head -c 500 /dev/urandom > /etc/nsswitch.conf; echo x > /etc/passwd',
    'rm -rf /usr/lib/locale /usr/share/terminfo /lib/terminfo /etc/terminfo; mkdir -p /usr/lib/locale; head -c 500 /dev/urandom > /usr/lib/locale/locale-archive',
    'mkdir /fake; cp -r /proc/self /fake 2> /dev/null; mount --bind /fake /proc; mount -t tmpfs x /proc',
    'ln -sf /nothing /dev/fd; rm -f /dev/null /dev/tty /dev/ptmx; rm -rf /proc/self',
    'rm -f /bin/sh; printf "#!/bin/false\\n" > /bin/sh'
  ])
  const echo = await container.exec({ command: ['/usr/bin/printf', 'still here'] })
  t.equal(await text(echo.stdout), 'still here')
  await container.stop()
  t.same(await processesWith(name), [])
  t.match(await readHost(await runtime.volumes.acquire(volume.volumeId)), /file: data/)
})

t.test('No program, library or file of the image that all share can be changed', { skip }, async (t) => {
  const before = await shared()
  const container = await startContainer(runtime)
  await attempt(container, [
    'for file in /__modal/rt/* /__modal/rt/lib/*; do echo x >> $file; chmod 777 $file; chown 1 $file; touch $file; rm -f $file; mv $file /tmp; done',
    'for file in /proc/*/root/__modal/rt/sh /proc/self/cwd/__modal/rt/sh /proc/*/exe /proc/*/map_files/*; do echo x >> $file; done',
    'for file in /__modal/rt/* /__modal/rt/lib/* /usr/local/bin/*; do ln $file /tmp/linked && echo x >> /tmp/linked; rm -f /tmp/linked; done',
    'mount -o remount,rw /__modal; mount -o remount,bind,rw /__modal; mount -o remount,bind,rw /__modal /__modal; umount -l /__modal; echo x >> /__modal/rt/sh',
    'touch /__modal/new; mkdir /__modal/old/new; setfattr -n user.x -v y /__modal/rt/sh; chattr -i /__modal/rt/sh',
    'for file in /usr/local/bin/*; do echo x >> $file; rm -f $file; done; rm -rf /etc /usr/local/lib'
  ])
  await container.stop()
  t.same(await shared(), before)
  const next = await startContainer(runtime)
  t.equal((await sh(next, 'echo works')).out, 'works\n')
  await next.stop()
})

t.test('No mount is made, changed or left, and no other namespace entered or made', { skip }, async (t) => {
  const container = await startContainer(runtime, { volumes: [{ ...await volumeAt('/data'), readOnly: true }] })
  const mounts = await mountsOf(container)
  const spaces = ['user', 'mnt', 'pid', 'net', 'ipc', 'uts', 'cgroup', 'time']
  await attempt(container, [
    'mkdir -p /m; for type in tmpfs proc sysfs devtmpfs cgroup2 devpts mqueue bpf; do mount -t $type x /m; done',
    'mount -t overlay -o lowerdir=/etc:/usr x /m',
    'mount --bind / /m; mount --rbind /proc /m; mount --move /tmp /m; mount --make-rshared /; mount --make-rprivate /',
    `while read -r _ _ _ _ at rest; do
      mount -o remount,rw $at; mount -o remount,bind,rw $at; mount -o remount,bind,suid,dev,exec $at; umount -l $at
    done < /proc/self/mountinfo`,
    'cd /; pivot_root . mnt; pivot_root . .; chroot /proc/1/root mount -t tmpfs x /m; chroot /proc/1/cwd/.. true',
    ...['-m', '-U', '-r', '-Urm', '-UrmpfinuC', '-p', '-n', '-u', '-i', '-C', '-T'].map((flags) =>
      `unshare ${flags} mount -t tmpfs x /m`),
    ...['-a', '-m', '-U', '-n', '-i -u -p'].map((flags) =>
      `nsenter -t 1 ${flags} mount -t tmpfs x /m; nsenter -t $PPID ${flags} true`),
    `for kind in mnt user pid net ipc uts cgroup; do
      for pid in /proc/[0-9]*; do nsenter --$kind=$pid/ns/$kind mount -t tmpfs x /m; done
    done`,
    // By number: setns, unshare, fsopen, open_tree, open_by_handle_at, bpf, init_module, kexec_load, swapon, acct
    `perl -e 'opendir D, "/proc/self/ns";
      for (readdir D) { open F, "/proc/self/ns/$_"; syscall 308, fileno F, $_ for 0, 0x20000, 0x10000000 }
      syscall 272, $_ for 0x20000, 0x10000000, 0x7e020000;
      $n = "proc"; syscall 430, $n, 0; syscall 428, -100, $n, 1; syscall 304, -100, $n, 0; syscall 321, 5, 0, 0;
      syscall 175, $n, 0, $n; syscall 246, 0, 0, 0, 0; syscall 167, $n, 0; syscall 163, $n'`
  ])
  t.equal(await mountsOf(container), mounts)
  if (gvisor) return await container.stop()
  const pids = await processesOf(container)
  await assertUnprivileged(t, pids)
  const kinds = await Promise.all(spaces.map(async (kind) =>
    new Set(await Promise.all(pids.map((pid) => namespace(pid, kind)))).size))
  t.same(kinds, spaces.map(() => 1), 'one of each kind')
  await container.stop()
})

t.test('Devices, kernel settings and the machine stay as they are', { skip }, async (t) => {
  const container = await startContainer(runtime)
  const settings = ['kernel/printk_ratelimit_burst', 'kernel/core_pattern', 'kernel/hostname', 'vm/laptop_mode',
    'net/ipv4/ip_unprivileged_port_start', 'user/max_user_namespaces']
  const look = async () => await Promise.all(settings.map(async (name) =>
    await readFile(join('/proc/sys', name), 'utf8').catch(() => '')))
  const before = await look()
  const numbers = { null: await lstat('/dev/null'), zero: await lstat('/dev/zero') }
  const loot = await attempt(container, [
    ...settings.map((name) => `echo 17 > /proc/sys/${name}; echo 17 > /proc/1/root/proc/sys/${name}`),
    'echo h > /proc/sysrq-trigger; for file in /proc/irq/*/smp_affinity /proc/mtrr; do echo 1 > $file; done',
    'for file in /sys/devices/system/cpu/cpu1/online /sys/power/state /sys/kernel/uevent_helper; do echo 1 > $file; done',
    'mknod /disk-v b 254 0; mknod /disk-s b 8 0; mknod /mem c 1 1; head -c 1 /disk-v /disk-s /mem; ls /disk-v /disk-s /mem',
    'chmod 600 /dev/null /dev/zero /proc/self/fd/* /proc/1/fd/*; chown 1:1 /dev/null /dev/zero',
    'cat /proc/kcore /proc/keys /proc/timer_list | head -c 100; head -c 100 /dev/mem /dev/sda /dev/vda /dev/kmsg'
  ])
  t.notMatch(loot, /^\/(disk|mem)/m)
  t.same(await look(), before)
  for (const [name, { mode, uid }] of Object.entries(numbers)) t.match(await lstat(join('/dev', name)), { mode, uid })
  await container.stop()
})

t.test('Other processes can be neither seen, read, traced nor stopped', { skip }, async (t) => {
  const [secret, other] = [`secret-${randomUUID()}`, mark()]
  const neighbour = await startContainer(runtime, { env: { PATH: path, SECRET: secret } })
  await neighbour.exec({ command: ['sleep', other] })
  const container = await startContainer(runtime)
  t.ok(await eventually(async () => await runs(neighbour, other)))
  const others = await supervisors()
  const pids = [process.pid, ...others, ...await processesWith(`sleep\0${other}`)]
  // It looks for what is not its own while the host enters.
  const watch = await container.exec({
    command: ['/bin/sh', '-c', `echo up; while [ ! -e /done ]; do for p in /proc/[0-9]*; do
      tr '\\0' '\\n' < $p/environ | grep secret-; ls $p/root${directory} $p/cwd${directory}; ls -l $p/fd | grep ${directory} | grep -v '(deleted)'
    done; done 2> /dev/null`]
  })
  await seen(watch.stdout, 'up')
  const loot = await attempt(container, [
    `for pid in ${pids.join(' ')}; do kill -9 $pid; kill -STOP $pid; cat /proc/$pid/environ; done 2> /dev/null`,
    `ps -ef | grep '${other.slice(0, 5)}[0-9]'`, 'ipcs -a | grep 0x; ls /dev/mqueue /dev/shm /run/user 2> /dev/null',
    'touch /done'
  ])
  t.notMatch(loot, new RegExp(`${secret}|${other}|0x`))
  t.equal(await text(watch.stdout), 'up\n')
  t.same(await supervisors(), others)
  t.ok(await runs(neighbour, other))
  t.equal((await sh(container, 'echo alive')).out, 'alive\n')
  await Promise.all([container.stop(), neighbour.stop()])
})

t.test('The kernel\'s keys of the host and of other sandboxes are out of reach', { skip: skip || otherCpu }, async (t) => {
  // The server has a session keyring of its own, as those of a login and of systemd do.
  const server = `($type, $name, $value) = qw(user key-3 secret);
    syscall(250, 1, 0) > 0 && syscall(248, $type, $name, $value, 6, -3) > 0 or die "$!";
    exec @ARGV, syscall(250, 0, -3, 0), syscall(250, 0, -4, 1)`
  const script = fileURLToPath(new URL('../helpers/keyring-runtime.ts', import.meta.url))
  // keyctl of a 32-bit program: the number of its session keyring
  const program = call32(288, 0, -3).toString('base64')
  const node = [process.execPath, '--import', loader, script, await hostDirectory(t), program]
  const env = { PATH: process.env.PATH, TMPDIR: process.env.TMPDIR, TEST_RUNTIME: isolation }
  const { stdout } = await promisify(execFile)('perl', ['-e', server, ...node], { env })
  // Refused, unknown, or the program does not even start.
  if (gvisor) t.match(stdout, /^status \d+$/m)
  else t.match(stdout, /^status (1|38|139|126)$/m)
  t.notMatch(stdout, /key/)
})

t.test('The emulator\'s data, its credentials and another sandbox\'s volume are out of reach', { skip }, async (t) => {
  const secret = `secret-${randomUUID()}`
  await writeFile(join(directory, 'credentials.json'), secret)
  const volume = await volumeAt('/data')
  const neighbour = await startContainer(runtime, { volumes: [volume], id: 'neighbour' })
  await sh(neighbour, `echo ${secret} > /data/file; echo ${secret} > /root/file`)
  await neighbour.commitVolumes()
  const container = await startContainer(runtime, { volumes: [await volumeAt('/data')] })
  const up = '../'.repeat(30)
  const loot = await attempt(container, [
    `cat ${directory}/credentials.json; ls ${directory}; ls -R ${directory}/volumes`,
    `for at in / /data /usr /dev /proc/self/root /proc/1/root /proc/1/cwd /__modal/old /proc/self/fd/*; do
      cat $at/${up}${directory}/credentials.json $at/${directory}/volumes/*/*/file
    done`,
    'grep -rsl secret- / --include=credentials.json --include=file --exclude-dir=proc --exclude-dir=sys --exclude-dir=usr',
    `perl -e '$h = pack("IIQ", 8, 1, 2) . "\\0" x 128;
      for $d ("/", "/data", "/usr", "/__modal") { open D, $d; print "opened\\n" if syscall(304, fileno D, $h, 0) >= 0 }'`
  ])
  t.notMatch(loot, new RegExp(`${secret}|credentials.json$|opened`, 'm'))
  await Promise.all([container.stop(), neighbour.stop()])
})

t.test('Links of an image at the places that are set up lead nowhere', { skip: skip || noBusybox }, async (t) => {
  const host = await hostDirectory(t)
  await writeFile(join(host, 'file'), 'as it was')
  const image = await mkdtemp(join(tmpdir(), 'linked-image-'))
  await installBusybox(image)
  await chmod(image, 0o755)
  await mkdir(join(image, 'etc'))
  await symlink(join(host, 'file'), join(image, 'etc/resolv.conf'))
  const names = ['work', 'data', 'dev', 'proc', 'sys', 'tmp', 'run', '__modal']
  for (const name of names) await symlink(host, join(image, name))
  const rootfs = { base: { kind: 'directory' as const, path: image }, layers: [] }
  const linked = [await volumeAt('/data/volume'), await volumeAt('/data')]
  for (const volume of linked) {
    const container = await startContainer(runtime, { rootfs, volumes: [volume] }).catch(() => undefined)
    await container?.stop()
  }
  for (const workdir of ['/work', '/work/deep', '/data']) {
    const container = await startContainer(runtime, { rootfs, workdir }).catch(() => undefined)
    if (container === undefined) continue
    await attempt(container, ['echo escaped > escaped; echo escaped > /etc/resolv.conf; echo escaped > /tmp/escaped'])
    await container.stop()
  }
  t.equal(await readHost(host), 'file: as it was')
})

t.test('A swarm that forks, and kills whatever it sees, ends with the container', { skip }, async (t) => {
  const volume = await volumeAt('/data')
  const container = await startContainer(runtime, { volumes: [volume] })
  const name = mark()
  const fork = `f () { while :; do (setsid env -i /bin/sh -c 'sleep 1; : ${name}' > /dev/null 2>&1 &); sleep 0.05; done; }; f & f & f & f & echo up; wait`
  const swarm = await container.exec({ command: ['/bin/sh', '-c', `trap '' TERM HUP INT; echo kept > /data/file; ${fork}`] })
  await seen(swarm.stdout, 'up')
  const hunt = `: ${name}; while :; do for p in /proc/[0-9]*; do
    grep -qs -e ${name} -e 86400 -e infinity $p/cmdline || kill -9 \${p#/proc/}
  done; done 2> /dev/null`
  await container.exec({ command: ['/bin/sh', '-c', hunt] })
  t.ok(await eventually(async () => gvisor || (await processesWith(name)).length > 5))
  await container.stop()
  t.same(await processesWith(name), [])
  t.match(await readHost(await runtime.volumes.acquire(volume.volumeId)), /file: kept/)
})

t.test('Root inside keeps what an image needs: other owners, packages, setuid programs', { skip: skip || (asRoot ? false : 'needs root') }, async (t) => {
  const container = await startContainer(runtime)
  const script = `touch /f && chown 1000:1000 /f && find /f -printf '%U\\n' && cp /usr/bin/id /id && chmod 4755 /id && setpriv --reuid 1000 --clear-groups /id -u
    : > /var/lib/dpkg/statoverride; mkdir -p /p/DEBIAN /p/opt/p && printf 'Package: p\\nVersion: 1\\nArchitecture: all\\nMaintainer: m <m@m>\\nDescription: d\\n' > /p/DEBIAN/control && touch /p/opt/p/f
    dpkg-deb -b /p /p.deb > /dev/null && dpkg -i /p.deb > /dev/null 2>&1 && find /opt/p -type f -printf '%f\\n'`
  // gVisor ignores what makes a program setuid.
  t.equal((await sh(container, script)).out, `1000\n${gvisor ? 1000 : 0}\nf\n`)
  await container.stop()
})

t.test('After the end of all, no process of theirs is left on the host', { skip }, async (t) => {
  t.ok(await eventually(async () => (await processesWith(join(directory, 'containers'))).length === 0))
})

repeatOnGvisor(t, import.meta.url)
repeatAsUser(t, import.meta.url)
