import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { removeTree } from '../../emulator/container/host.js'
import { createRuntime } from '../../emulator/container/runtime.js'
import { eventually, sh, startContainer } from '../helpers/containers.js'
import { skip as noModal, startService } from '../helpers/service.js'

const sandboxes = '/api/modal/sandbox'
const mebibyte = 1024 * 1024

/** A small file system for the data directory; undefined where this process may not mount one. */
function smallDisk (): string | undefined {
  const path = mkdtempSync(join(tmpdir(), 'full-disk-'))
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1g,nr_inodes=1000000', 'full-disk', path]).status === 0) return path
  rmSync(path, { recursive: true })
}

/** On this file system a name takes no space, but it can run out of inodes. */
function limitInodes (isFull: boolean): void {
  const used = execFileSync('df', ['--output=iused', disk!], { encoding: 'utf8' }).trim().split('\n').at(-1)!.trim()
  execFileSync('mount', ['-o', `remount,nr_inodes=${isFull ? used : 1_000_000}`, disk!])
}

const disk = process.env.TEST_LIVE === '1' ? undefined : smallDisk()
const skip = disk === undefined ? 'mounting a small file system needs root' : noModal

t.test('what a volume could not take before the emulator ended is in it when it is mounted again (8.4)', { skip }, async (t) => {
  const dataDir = join(disk!, 'aside')
  const volumes = [{ volumeId: 'vo-1', path: '/data', readOnly: false, subPath: 'a/b' }]
  const open = async () => await createRuntime({ dataDir, log: { warn () {} } })
  const first = await open()
  t.teardown(() => removeTree(dataDir))
  await first.volumes.create('vo-1')
  const before = await startContainer(first, { volumes })
  await sh(before, 'cd /data; echo old > changed; echo old > deleted; mkdir d; echo old > d/f')
  await before.stop()
  const container = await startContainer(first, { volumes })
  await sh(container, 'cd /data; echo new > changed; rm deleted; rm -r d; mkdir more; echo new > more/f')
  limitInodes(true)
  await t.rejects(container.stop(), { name: 'ContainerError', reason: 'no_space' })
  await first.close()
  limitInodes(false)
  const second = await open()
  const again = await startContainer(second, { volumes })
  t.equal((await sh(again, 'cd /data; find . -type f | sort; cat changed more/f')).out, './changed\n./more/f\nnew\nnew\n')
  await second.close()
})

t.test('a full disk in local mode', { skip }, async (t) => {
  const service = await startService({ DATA_DIR: join(disk!, 'data') })
  t.teardown(async () => {
    await service.close()
    execFileSync('umount', ['-l', disk!])
    rmSync(disk!, { recursive: true })
  })
  const filler = join(disk!, 'filler')
  const fill = () => {
    for (const size of [16 * mebibyte, 4096]) {
      for (;;) {
        try { writeFileSync(filler, Buffer.alloc(size), { flag: 'a' }) } catch { break }
      }
    }
  }
  const free = async () => await rm(filler, { force: true })
  const find = async (name: string) => (await readdir(join(disk!, 'data', 'volumes'), { recursive: true }))
    .map((path) => `volumes/${path}`).filter((path) => path.endsWith(`/${name}`))
  const create = async (json: object = {}, as: 'alice' | 'bob' = 'alice') => await service.request(sandboxes, { method: 'POST', json, as })
  const created = async (json: object = {}) => (await (await create(json)).json() as { id: string }).id
  const exec = async (id: string, script: string) => {
    const response = await service.request(`${sandboxes}/${id}/exec`, {
      method: 'POST', json: { command: ['sh', '-c', script] }, headers: { accept: 'application/json' }
    })
    return { status: response.status, body: await response.json() as any }
  }
  const remove = async (id: string) => {
    const response = await service.request(`${sandboxes}/${id}`, { method: 'DELETE' })
    return { status: response.status, body: await response.json() as any }
  }
  const id = await created()

  await t.test('An exec whose output could not be kept is an error, never an empty success (10.1)', async (t) => {
    t.teardown(free)
    const running = exec(id, 'while [ ! -e /tmp/go ]; do sleep 0.1; done; head -c 200000 /dev/zero; echo end > /tmp/end')
    t.equal((await exec(id, 'true')).status, 200)
    // The disk fills while the command runs: its own start has worked.
    await exec(id, '(sleep 1; : > /tmp/go) >/dev/null 2>&1 &')
    fill()
    t.match(await running, { status: 507, body: { code: 'NO_SPACE', message: /No space is left/ } })
  })

  await t.test('Creates and execs of others say that there is no space (10.1)', async (t) => {
    t.teardown(free)
    fill()
    const refused = await create({}, 'bob')
    t.match([refused.status, await refused.json()], [507, { code: 'NO_SPACE', message: /No space is left/, step: /./ }])
    t.match(await exec(id, 'echo hello'), { status: 507, body: { code: 'NO_SPACE' } })
    await free()
    t.match(await exec(id, 'echo hello'), { status: 200, body: { stdout: 'hello\n' } })
  })

  await t.test('What was written to a volume before the disk filled is in it after the end (5.5, 8.4)', async (t) => {
    t.teardown(free)
    const one = await created({ volume: { name: 'filled' } })
    await exec(one, 'echo first > old; head -c 3000000 /dev/urandom > big; sha256sum big > sum')
    t.ok(await eventually(async () => (await find('old')).some((path) => /volumes\/vo-\w+\/\d+\/old$/.test(path))), 'committed')
    await exec(one, 'echo second > old; mkdir d; echo third > d/new')
    fill()
    const end = await remove(one)
    await free()
    t.match(end, { status: 200, body: { released: { sandbox: true, keptVolume: 'filled' } } })
    const two = await created({ volume: { name: 'filled' } })
    t.match(await exec(two, 'cat old d/new; sha256sum -c sum'), { status: 200, body: { stdout: 'second\nthird\nbig: OK\n' } })
    t.equal((await remove(two)).status, 200)
  })

  await t.test('A file of holes that is larger than the disk is committed and kept, and holds up no end (5.5, 8.4)', async (t) => {
    const one = await created({ volume: { name: 'holes' } })
    await exec(one, 'truncate -s 5T holes; echo end >> holes')
    t.ok(await eventually(async () => (await find('holes')).some((path) => /volumes\/vo-\w+\/\d+\/holes$/.test(path))), 'committed')
    await exec(one, 'echo again >> holes')
    t.match(await remove(one), { status: 200, body: { released: { sandbox: true, keptVolume: 'holes' } } })
    const two = await created({ volume: { name: 'holes' } })
    t.match(await exec(two, 'stat -c %s holes; tail -c 10 holes'), { body: { stdout: `${5 * 1024 ** 4 + 10}\nend\nagain\n` } })
    t.equal((await remove(two)).status, 200)
  })

  await t.test('An end whose commit fails is told, keeps the sandbox, and works when there is space (5.5, 10.1)', async (t) => {
    t.teardown(free)
    const one = await created({ volume: { name: 'stuck' } })
    await exec(one, 'seq 10 > file; for i in $(seq 300); do mkdir -p many/$i; done')
    limitInodes(true)
    const refused = await remove(one)
    t.match(refused, { status: 507, body: { code: 'NO_SPACE', step: 'terminate', message: /the sandbox is kept/ } })
    t.match(await (await service.request(`${sandboxes}/${one}`)).json(), { status: 'running' }, 'it is not gone')
    limitInodes(false)
    t.match(await remove(one), { status: 200, body: { released: { sandbox: true, keptVolume: 'stuck' } } })
    const two = await created({ volume: { name: 'stuck' } })
    t.match(await exec(two, 'wc -l < file; ls many | wc -l'), { body: { stdout: '10\n300\n' } })
    t.equal((await remove(two)).status, 200)
  })
})
