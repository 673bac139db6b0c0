import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { VolumeMount } from '../emulator/container/types.js'
import { ImageStore, type BuildRequest } from '../emulator/images/store.js'
import { Changes } from '../emulator/volumes/changes.js'
import { VolumeStore } from '../emulator/volumes/store.js'
import { repeatAsUser } from './helpers/as-user.js'
import { eventually, openRuntime, sh, startContainer } from './helpers/containers.js'

const { runtime, directory, close } = await openRuntime()
t.teardown(close)
const tests = await runtime.selfTest()
const skip = tests.ok ? false : tests.message
const { volumes } = runtime
let made = 0

async function newVolume (): Promise<string> {
  const volumeId = `vo-${made++}`
  await volumes.create(volumeId)
  return volumeId
}

async function startWith (volumeId: string, mount: Partial<VolumeMount> = {}) {
  return await startContainer(runtime, { volumes: [{ volumeId, path: '/data', readOnly: false, ...mount }] })
}

/** What a new container sees in the volume. */
async function stateOf (volumeId: string, script = 'cd /data; find . ! -name . | sort | tr "\\n" " "'): Promise<string> {
  const container = await startWith(volumeId)
  const { out } = await sh(container, script)
  await container.stop()
  return out.trim()
}

/** A directory of the host that no container may reach. */
async function hostDirectory (t: { teardown: (end: () => Promise<void>) => void }): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'host-only-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

const image = new ImageStore({ dataDir: join(directory, 'images'), runtime, images: {} })
const build = (commands: string[], more: Partial<BuildRequest> = {}) =>
  image.build({ parent: { kind: 'local' }, commands, env: {}, forceBuild: false, onLog () {}, ...more })

t.test('A write is seen by others after a commit and their reload, and not before (1.2, 8.4)', { skip }, async (t) => {
  const id = await newVolume()
  const [a, b] = await Promise.all([startWith(id), startWith(id, { path: '/elsewhere/deep' })])
  await sh(a, 'mkdir /data/d; echo 1 > /data/d/f; ln -s d/f /data/link; printf "#!" > /data/run; chmod 751 /data/run; mkdir /data/empty')
  const look = 'cd /elsewhere/deep; find . ! -name . | sort | tr "\\n" " "; cat d/f'
  t.equal((await sh(b, look)).out, '')
  await a.commitVolumes()
  t.equal((await sh(b, look)).out, '')
  await b.reloadVolumes()
  t.equal((await sh(b, look)).out, './d ./d/f ./empty ./link ./run 1\n')
  t.equal((await sh(b, 'cd /elsewhere/deep; stat -c %a run; readlink link; stat -c %Y d/f')).out,
    (await sh(a, 'cd /data; stat -c %a run; readlink link; stat -c %Y d/f')).out)
  await Promise.all([a.stop(), b.stop()])
})

t.test('The end of a container commits, and so does the background (1.2, 8.4)', { skip }, async (t) => {
  const [byStop, byExit, byTime] = [await newVolume(), await newVolume(), await newVolume()]
  const stopped = await startWith(byStop)
  await sh(stopped, 'echo x > /data/f')
  await stopped.stop()
  const volume = (volumeId: string) => [{ volumeId, path: '/data', readOnly: false }]
  const ended = await startContainer(runtime, { volumes: volume(byExit), command: ['/bin/sh', '-c', 'echo x > /data/f'] })
  await ended.exited
  const running = await startWith(byTime)
  await sh(running, 'echo x > /data/f')
  t.ok(await eventually(async () => await stateOf(byTime) === './f'))
  t.same([await stateOf(byStop), await stateOf(byExit)], ['./f', './f'])
  await running.stop()
})

t.test('Per file the last writer wins; files of others survive', { skip }, async (t) => {
  const id = await newVolume()
  const [a, b] = await Promise.all([startWith(id), startWith(id)])
  await sh(a, 'cd /data; echo a > both; echo a > mine; mkdir d; echo a > d/a')
  await sh(b, 'cd /data; echo b > both; mkdir d; echo b > d/b')
  await a.commitVolumes()
  await b.commitVolumes()
  t.equal(await stateOf(id, 'cd /data; cat both mine d/a d/b | tr "\\n" " "'), 'b a a b')
  await sh(a, 'echo later > /data/other')
  await a.commitVolumes()
  t.equal(await stateOf(id, 'cat /data/both'), 'b', 'what was not written again is not committed again')
  await Promise.all([a.stop(), b.stop()])
})

t.test('What is deleted or replaced is so for others, once', { skip }, async (t) => {
  const id = await newVolume()
  const first = await startWith(id)
  await sh(first, 'cd /data; mkdir -p tree/sub; touch old tree/x tree/sub/y keep; echo f > file; mkdir dir; touch dir/z')
  await first.stop()
  const a = await startWith(id)
  await sh(a, 'cd /data; rm -r tree old file dir; mkdir file; touch file/inside; echo d > dir; mkdir tree; touch tree/new')
  await a.commitVolumes()
  t.equal(await stateOf(id), './dir ./file ./file/inside ./keep ./tree ./tree/new')

  await sh(a, 'cd /data; touch index.lock; mkdir -p scratch/deep; touch scratch/deep/f; echo 1 > part')
  await a.commitVolumes()
  await sh(a, 'cd /data; rm index.lock; rm -r scratch; mv part whole')
  await a.commitVolumes()
  t.equal(await stateOf(id), './dir ./file ./file/inside ./keep ./tree ./tree/new ./whole', 'also what came and went')

  const b = await startWith(id)
  await sh(b, 'echo new > /data/old')
  await b.commitVolumes()
  await sh(a, 'echo > /data/unrelated')
  await a.commitVolumes()
  t.equal(await stateOf(id, 'cat /data/old'), 'new', 'an old deletion is not repeated')
  await Promise.all([a.stop(), b.stop()])
})

t.test('A reload needs closed files, keeps what was written, and shows what others did', { skip }, async (t) => {
  const id = await newVolume()
  const [a, b] = await Promise.all([startWith(id), startWith(id)])
  await sh(a, 'echo a > /data/a')
  await sh(b, 'echo b > /data/b')
  await a.commitVolumes()
  const holder = await b.exec({ command: ['/bin/sh', '-c', 'exec 9> /data/held; sleep 1000'] })
  await eventually(async () => (await sh(b, 'ls /data/held')).out !== '')
  await t.rejects(b.reloadVolumes(), { name: 'ContainerError', reason: 'busy' })
  t.equal((await sh(b, 'ls /data | tr "\\n" " "; echo more > /data/after')).out, 'b held ', 'nothing changed')
  await sh(b, 'kill -9 $(pgrep -x sleep)')
  await holder.exited
  await b.reloadVolumes()
  t.equal((await sh(b, 'ls /data | tr "\\n" " "')).out, 'a after b held ')
  await sh(b, 'echo again > /data/b')
  await b.reloadVolumes()
  t.equal(await stateOf(id, 'cat /data/b'), 'again')
  await Promise.all([a.stop(), b.stop()])
})

t.test('Read-only mounts refuse writes; a sub path is a part of the volume and is made when missing', { skip }, async (t) => {
  const id = await newVolume()
  const part = await startWith(id, { subPath: 'users/alice' })
  await sh(part, 'echo hi > /data/f')
  await part.stop()
  t.equal(await stateOf(id), './users ./users/alice ./users/alice/f')
  const reader = await startWith(id, { readOnly: true })
  const refused = await sh(reader, 'echo x > /data/users/alice/f || rm -r /data/users')
  t.match(refused.err, /Read-only file system/)
  const writer = await startWith(id)
  await sh(writer, 'echo later > /data/later')
  await writer.stop()
  await reader.reloadVolumes()
  t.equal((await sh(reader, 'cat /data/later /data/users/alice/f')).out, 'later\nhi\n')
  await reader.stop()
  t.equal(await new VolumeStore(directory).acquire(id), await volumes.acquire(id), 'the state is on the disk')
})

t.test('Links on a volume lead nowhere outside of it, neither by sub path nor by commit', { skip }, async (t) => {
  const host = await hostDirectory(t)
  await writeFile(join(host, 'f'), 'host')
  const id = await newVolume()
  const [a, b] = await Promise.all([startWith(id), startWith(id)])
  await sh(a, 'mkdir /data/d; echo a > /data/d/f')
  await a.commitVolumes()
  await b.reloadVolumes()
  await sh(b, `cd /data; rm -r d; ln -s ${host} d; ln -s ${host} out`)
  await b.commitVolumes()
  await sh(a, 'echo evil > /data/d/f')
  await a.commitVolumes()
  t.equal(await readHost(host), 'f: host', 'a commit wrote through a link')

  const subPath = async (path: string) => {
    const container = await startWith(id, { subPath: path }).catch(() => undefined)
    const seen = container && await sh(container, 'cat /data/f; touch /data/touched')
    await container?.stop()
    return seen?.out ?? ''
  }
  t.notMatch(await subPath('out'), /host/)
  t.notMatch(await subPath('out/deeper'), /host/)
  t.notMatch(await subPath('../../..'), /host/)
  t.equal(await readHost(host), 'f: host')
  await Promise.all([a.stop(), b.stop()])
})

t.test('What a commit could not find, because its directory was moved for a moment, is in the next one', { skip }, async (t) => {
  const place = await hostDirectory(t)
  const [upper, base, target] = ['upper', 'base', 'target'].map((name) => join(place, name)) as [string, string, string]
  for (const path of [join(upper, 'd/e'), base, target]) await mkdir(path, { recursive: true })
  await writeFile(join(upper, 'd/e/f'), 'f')
  await writeFile(join(upper, 'big'), Buffer.alloc(3e6, 'x'))
  const changes = new Changes(upper)
  const commit = async () => {
    const found = await changes.find()
    return found && await changes.apply(found, { base, merged: undefined, target })
  }
  const found = await changes.find()
  await rename(join(upper, 'd'), join(place, 'd'))
  await symlink(place, join(upper, 'd'))
  await changes.apply(found!, { base, merged: undefined, target })
  t.equal((await readFile(join(target, 'big'))).length, 3e6)
  await rm(join(upper, 'd'))
  await rename(join(place, 'd'), join(upper, 'd'))
  t.same(await commit(), [])
  t.equal(await readFile(join(target, 'd/e/f'), 'utf8'), 'f')
  t.equal(await commit(), undefined, 'nothing is left to commit')
})

t.test('A state is never taken away between finding and using it', { skip }, async (t) => {
  const id = await newVolume()
  const store = new VolumeStore(directory)
  const commits = Array.from({ length: 60 }, (_, change) => store.commit(id, (state) => writeFile(join(state, `f${change}`), '')))
  const missing: string[] = []
  for (const commit of commits) {
    const state = await store.acquire(id)
    await commit
    await sleep(1)
    await readdir(state).catch(() => missing.push(state))
    store.release(state)
  }
  t.same(missing, [])
})

t.test('RUN, ENV and WORKDIR really run, build secrets stay out of the image, and content finds the cache (1.1)', { skip }, async (t) => {
  const log: string[] = []
  const commands = [
    '# a comment', 'ENV GREETING="hello there"', 'ENV NAME=$GREETING', 'WORKDIR /srv/app', 'WORKDIR sub',
    'RUN echo "$NAME" > file && \\', '    echo two >> file && echo "$TOKEN" | wc -c && mkdir -p /run/service',
    'RUN ["/bin/sh", "-c", "rm /etc/mime.types /etc/services; touch /usr/local/bin/added /tmp/gone"]', 'EXPOSE 80', 'USER root'
  ]
  const request = { commands, env: { TOKEN: 'secret' }, onLog: (text: string) => { log.push(text) } }
  const first = await build(commands, request)
  t.match(first.imageId, /^im-[0-9A-Za-z]{22}$/)
  t.match(log.join(''), /RUN echo[\s\S]*\n7\n/)
  t.match(first, { env: { GREETING: 'hello there', NAME: 'hello there' }, workdir: '/srv/app/sub' })
  const container = await startContainer(runtime, { rootfs: first.rootfs, workdir: first.workdir! })
  const look = await sh(container, 'pwd; cat file; ls /usr/local/bin/added; echo "[$TOKEN]"; ls /tmp; ls -d /run/service; ls /etc/services; [ -d /etc/ssl ]')
  t.equal(look.out, '/srv/app/sub\nhello there\ntwo\n/usr/local/bin/added\n[]\n/run/service\n')
  t.match(look.err, /services.*No such file/)
  await container.stop()

  log.length = 0
  t.equal((await build(commands, { ...request, env: { TOKEN: 'other value' } })).imageId, first.imageId)
  t.same(log, [], 'the cache was used')
  const reopened = new ImageStore({ dataDir: join(directory, 'images'), runtime, images: {} })
  t.same(await reopened.byId(first.imageId), first)
  t.not((await build(commands, { ...request, forceBuild: true })).imageId, first.imageId)
  const child = await build(['RUN cat file > copy'], { parent: first })
  const second = await startContainer(runtime, { rootfs: child.rootfs, workdir: child.workdir! })
  t.equal((await sh(second, 'cat copy')).out, 'hello there\ntwo\n')
  await second.stop()
})

t.test('A build that fails says why, names what it can\'t do, and can be tried again (1.6, 8.10)', { skip }, async (t) => {
  await t.rejects(build(['RUN echo started; echo broken >&2; exit 7']), { message: /exit code 7[\s\S]*broken/ })
  await t.rejects(build(['RUN kill -9 $$']), { message: /signal 9/ })
  for (const line of ['COPY . /app', 'ADD x /y', 'USER daemon', 'ONBUILD RUN x', 'FROM other', 'NONSENSE']) {
    await t.rejects(build([line]), { message: new RegExp(line.split(' ')[0]!) })
  }
  const commands = ['RUN echo one > /one', 'RUN [ "$TOKEN" = right ]']
  await t.rejects(build(commands, { env: { TOKEN: 'wrong' } }), { message: /exit code 1/ })
  const mended = await build(commands, { env: { TOKEN: 'right' } })
  const [left, right] = await Promise.all([build(['RUN sleep 0.3; echo > /side']), build(['RUN sleep 0.3; echo > /side'])])
  t.same(left, right, 'the same build twice at once')
  const container = await startContainer(runtime, { rootfs: mended.rootfs })
  t.equal((await sh(container, 'cat /one')).out, 'one\n')
  await container.stop()
})

t.test('A tag is a base only when it is `local` or configured (1.1)', { skip }, async (t) => {
  const bases = new ImageStore({ dataDir: join(directory, 'images'), runtime, images: { 'debian:12': '/some/where' } })
  t.same(bases.base('debian:12'), { kind: 'directory', path: '/some/where' })
  t.same(bases.base('local'), { kind: 'local' })
  t.same([bases.base('debian'), bases.base('toString')], [undefined, undefined])
})

t.test('Links in an image lead nowhere on the host', { skip }, async (t) => {
  const host = await hostDirectory(t)
  await writeFile(join(host, 'resolv.conf'), 'host')
  const layered = await build([`RUN ln -s ${host} /out; mv /etc /etc.old; ln -s ${host} /etc`])
  t.equal(await readHost(host), 'resolv.conf: host', 'keeping the layer')
  const volume = { volumeId: await newVolume(), readOnly: false }
  for (const spec of [{ workdir: '/out/work' }, { volumes: [{ ...volume, path: '/out/volume' }] }, { workdir: '/etc/work' }]) {
    const container = await startContainer(runtime, { rootfs: layered.rootfs, ...spec }).catch(() => undefined)
    await container?.stop()
  }
  const base = await hostDirectory(t)
  await Promise.all(['etc', 'tmp', 'dev', 'proc', 'sys', 'run', '__modal'].map((name) =>
    symlink(host, join(base, name))))
  const container = await startContainer(runtime, { rootfs: { base: { kind: 'directory', path: base }, layers: [] } }).catch(() => undefined)
  await container?.stop()
  t.equal(await readHost(host), 'resolv.conf: host', 'setting up a root')
})

/** Names and contents of a directory of the host. */
async function readHost (path: string): Promise<string> {
  const names = (await readdir(path)).sort()
  return (await Promise.all(names.map(async (name) =>
    `${name}: ${await readFile(join(path, name), 'utf8').catch(() => 'directory')}`))).join(' ')
}

repeatAsUser(t, import.meta.url)
