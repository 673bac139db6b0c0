import { mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { VolumeMount } from '../../../emulator/container/types.js'
import { Changes } from '../../../emulator/volumes/changes.js'
import type { Difference } from '../../../emulator/volumes/difference.js'
import { VolumeStore } from '../../../emulator/volumes/store.js'
import { repeatAsUser } from '../../helpers/as-user.js'
import { eventually, hostDirectory, readHost, runtimeFor, sh, startContainer } from '../../helpers/containers.js'

const { runtime, directory, skip } = await runtimeFor(t)
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

async function volumeAt (path: string): Promise<VolumeMount> {
  return { volumeId: await newVolume(), path, readOnly: false }
}

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
  const trees = { base, merged: undefined, target, scratch: join(place, 'scratch'), link: false, plain: false }
  const apply = async (found: Difference) => {
    const { failures, accept } = await changes.apply(found, trees)
    await accept()
    return failures
  }
  const commit = async () => {
    const found = await changes.find()
    return found && await apply(found)
  }
  const found = await changes.find()
  await rename(join(upper, 'd'), join(place, 'd'))
  await symlink(place, join(upper, 'd'))
  await apply(found!)
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

t.test('A reload mounts where the volume was, whatever became of the way to it', { skip }, async (t) => {
  const volume = await volumeAt('/a/__modal')
  const container = await startContainer(runtime, { volumes: [volume] })
  await sh(container, 'echo kept > /a/__modal/f; mv /a /b; ln -s . /a')
  await t.rejects(container.reloadVolumes(), { name: 'ContainerError', reason: 'failed' })
  t.match((await sh(container, 'ls /__modal/rt; cat /b/__modal/f')).out, /ld\.so[\s\S]*kept\n/, 'the tools are still the emulator\'s')
  await sh(container, 'rm /a; mv /b /a')
  await container.reloadVolumes()
  t.equal((await sh(container, 'cat /a/__modal/f')).out, 'kept\n')
  await container.stop()
})

t.test('A tree that changes under a commit does not lead it out of the volume', { skip }, async (t) => {
  const host = await hostDirectory(t)
  await writeFile(join(host, 'secret'), 'from the host')
  const volume = await volumeAt('/data')
  const container = await startContainer(runtime, { volumes: [volume] })
  const swap = `cd /data; mkdir real; echo inside > real/secret
    while :; do mv real d; : > d/touched; mv d real; ln -s ${host} d; rm d; done`
  const racer = await container.exec({ command: ['/bin/sh', '-c', swap] })
  for (const end = Date.now() + 1500; Date.now() < end;) await container.commitVolumes()
  t.equal(racer.status, undefined)
  await container.stop()
  const reader = await startContainer(runtime, { volumes: [volume] })
  t.notMatch((await sh(reader, 'grep -r . /data')).out, /from the host/)
  await reader.stop()
})

t.test('A file with holes is committed with them, in no time', { skip }, async (t) => {
  // The larger one would take a terabyte, and hours.
  for (const size of [64 * 1024 ** 2, 1000 ** 4]) {
    const id = await newVolume()
    const container = await startWith(id)
    await sh(container, `cd /data; echo begin > f; truncate -s ${size} f; echo end >> f; chmod 640 f; touch -d @1234567890 f`)
    await container.commitVolumes()
    const committed = await stat(join(await volumes.acquire(id), 'f'))
    const filled = committed.blocks * 512
    t.ok(filled < 1024 ** 2, `${filled} bytes of ${size}`)
    if (filled > 1024 ** 2) return
    await container.stop()
    const look = 'cd /data; head -c 6 f; tail -c 4 f; tail -c 1000000 f | head -c 1000 | tr -d "\\0"; stat -c "%s %a %Y" f'
    t.equal(await stateOf(id, look), `begin\nend\n${size + 4} 640 1234567890`)
  }
})

t.test('Pipes, sockets and unreadable files hold up no commit; the rest is kept', { skip }, async (t) => {
  const volume = await volumeAt('/data')
  const container = await startContainer(runtime, { volumes: [volume] })
  await sh(container, 'cd /data; mkfifo pipe; echo 1 > a; echo 2 > locked; chmod 000 locked; mkdir -m 000 shut; echo 3 > z')
  await sh(container, 'cd /data; d=d; for i in 1 2 3 4 5 6 7 8 9; do d=$d/$d; mkdir -p $d; done; echo deep > $d/f')
  await container.commitVolumes()
  await container.stop()
  const reader = await startContainer(runtime, { volumes: [volume] })
  t.equal((await sh(reader, 'cd /data; cat a z; find . -name f | xargs cat')).out, '1\n3\ndeep\n')
  await reader.stop()
})

t.test('Deleting a tree deletes what was seen of it; what others put there meanwhile stays', { skip }, async (t) => {
  const volume = await volumeAt('/data')
  const first = await startContainer(runtime, { volumes: [volume] })
  await sh(first, 'mkdir -p /data/tree/sub; touch /data/tree/old /data/tree/sub/old')
  await first.stop()
  const [a, b] = await Promise.all([1, 2].map(() => startContainer(runtime, { volumes: [volume] })))
  await sh(b!, 'touch /data/tree/sub/new')
  await b!.commitVolumes()
  await sh(a!, 'rm -r /data/tree; mkdir /data/mine; touch /data/mine/f')
  await a!.commitVolumes()
  await sh(a!, 'rm -r /data/mine')
  await a!.commitVolumes()
  await Promise.all([a!.stop(), b!.stop()])
  const reader = await startContainer(runtime, { volumes: [volume] })
  t.equal((await sh(reader, 'cd /data; find . -type f; ls')).out, './tree/sub/new\ntree\n')
  await reader.stop()
})

t.test('A sub path that became a link is refused when it is reloaded', { skip }, async (t) => {
  const volume = await volumeAt('/data')
  const part = await startContainer(runtime, { volumes: [{ ...volume, subPath: 'part' }] })
  const whole = await startContainer(runtime, { volumes: [volume] })
  await sh(part, 'echo mine > /data/f')
  await sh(whole, 'rm -r /data/part; ln -s /etc /data/part')
  await whole.commitVolumes()
  await t.rejects(part.reloadVolumes(), { name: 'ContainerError', reason: 'failed' })
  t.equal((await sh(part, 'ls /data')).out, 'f\n')
  await t.rejects(part.stop(), { name: 'ContainerError', reason: 'failed' }, 'it is told that the end stores nothing')
  await Promise.all([part.stop(), whole.stop()])
})

t.test('Commits and reloads at the same time lose nothing', { skip }, async (t) => {
  const volume = await volumeAt('/data')
  const container = await startContainer(runtime, { volumes: [volume] })
  for (let round = 0; round < 5; round++) {
    await sh(container, `mkdir /data/${round}; for i in $(seq 50); do echo x > /data/${round}/$i; done`)
    const work = () => [container.commitVolumes(), container.reloadVolumes(), container.commitVolumes()]
    await Promise.all([work(), work()].flat())
  }
  await container.stop()
  const reader = await startContainer(runtime, { volumes: [volume] })
  t.equal((await sh(reader, 'find /data -type f | wc -l')).out, '250\n')
  t.equal((await sh(reader, 'setpriv --reuid 65534 --clear-groups cat /data/0/1')).out, process.getuid!() === 0 ? 'x\n' : '')
  await reader.stop()
})

repeatAsUser(t, import.meta.url)
