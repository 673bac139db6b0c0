import { randomBytes, randomUUID } from 'node:crypto'
import { ModalClient, type Sandbox } from 'modal'
import t from 'tap'
import { endingOf, tapEndings } from '../../services/modal/ending.js'
import { killMarked } from '../../services/modal/kill.js'
import { listRunning, tapListedTags } from '../../services/modal/listed-tags.js'
import { execMarker } from '../../services/modal/process.js'
import { listVolumes } from '../../services/modal/volumes.js'
import { encodeTags, searchTags } from '../../services/sandboxes/tags.js'

/**
 * What the service takes for granted about Modal and nobody could try without credentials: each test settles one
 * question. A red one means that the code which stands on it has to change, and with it the emulator (8.1, 8.3, 8.4).
 */
const { MODAL_TOKEN_ID, MODAL_TOKEN_SECRET } = process.env
const skip = MODAL_TOKEN_ID && MODAL_TOKEN_SECRET
  ? false
  : 'Modal credentials are not configured: set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET'
/** `local` when these tests are pointed at the emulator, to see that they can pass. */
const registry = process.env.CLAUDE_IMAGE ?? 'node:22-slim'
const minute = 60_000
const name = `live-${randomBytes(4).toString('hex')}`

t.test('Modal behaves as the service believes', { skip, timeout: 15 * minute }, async (t) => {
  const modal = new ModalClient({ grpcMiddleware: [tapListedTags, tapEndings] })
  const app = await modal.apps.fromName('acct-live-test', { createIfMissing: true })
  const image = modal.images.fromRegistry(registry)
  const volume = await modal.volumes.fromName(name, { createIfMissing: true })
  const made: Sandbox[] = []
  const create = async (params: Parameters<typeof modal.sandboxes.create>[2] = {}) => {
    const sandbox = await modal.sandboxes.create(app, image, { timeoutMs: 10 * minute, ...params })
    made.push(sandbox)
    return sandbox
  }
  t.teardown(async () => {
    await Promise.allSettled(made.map((sandbox) => sandbox.terminate()))
    await modal.volumes.delete(name, { allowMissing: true })
    modal.close()
  })
  const box = await create({ volumes: { '/workspace': volume }, workdir: '/workspace' })

  async function sh (script: string, sandbox = box, params: { pty?: boolean } = {}) {
    const process = await sandbox.exec(['sh', '-c', script], params)
    const [out, err, code] = await Promise.all([process.stdout.readText(), process.stderr.readText(), process.wait()])
    return { out, err, code }
  }

  await t.test('what a sandbox wrote to a volume is there for the next one after its end (8.4)', async (t) => {
    const first = await create({ volumes: { '/workspace': volume } })
    await sh('mkdir -p /workspace/d && echo kept > /workspace/d/f && chmod 741 /workspace/d/f', first)
    await first.terminate({ wait: true })
    const second = await create({ volumes: { '/workspace': volume } })
    t.equal((await sh('cat /workspace/d/f; stat -c %a /workspace/d/f', second)).out, 'kept\n741\n')
  })

  await t.test('a terminated sandbox has exit code 137, and one whose time is over 124', async (t) => {
    const ended = await create()
    await ended.terminate({ wait: true })
    const late = await create({ timeoutMs: 5000 })
    t.same([await ended.poll(), await late.wait()], [137, 124])
  })

  await t.test('our tags and names are accepted as they are', async (t) => {
    const record = {
      owner: `acct-${'a'.repeat(26)}`,
      deployment: name,
      preparing: new Date().toISOString(),
      createdAt: new Date().toISOString(),
      expiresAt: new Date().toISOString(),
      image: 'registry.example/team/image_name:tag@sha256:'.padEnd(200, 'f'),
      workdir: '/work space/ü',
      request: randomUUID(),
      tags: { empty: '', long: 'x'.repeat(100) }
    }
    const tags = encodeTags(record)
    const tagged = await create({ name: `auto.${randomBytes(10).toString('hex')}`, tags })
    t.same(await tagged.getTags(), tags)
    const found = []
    for await (const one of modal.sandboxes.list({ appId: app.appId, tags })) found.push(one.sandboxId)
    t.same(found, [tagged.sandboxId])
  })

  await t.test('a list names the tags of its sandboxes: without them each costs a call', async (t) => {
    const tags = { question: randomUUID() }
    const tagged = await create({ tags })
    const found = []
    const listed = listRunning(modal, { appId: app.appId, tags })
    for await (const one of listed) found.push([one.sandbox.sandboxId, one.tags])
    t.strictSame(found, [[tagged.sandboxId, tags]])
  })

  await t.test('tags can be replaced, and a list across all apps goes by them: what the reaper stands on', async (t) => {
    const deployment = randomUUID()
    const tagged = await create({ tags: { ...searchTags({ deployment }), other: 'x' } })
    await tagged.setTags(searchTags({ deployment }))
    t.same(await tagged.getTags(), searchTags({ deployment }))
    const found = []
    for await (const one of modal.sandboxes.list({ tags: searchTags({ deployment }) })) found.push(one.sandboxId)
    t.same(found, [tagged.sandboxId])
  })

  await t.test('CPU and memory have hard limits, and the list of volumes has all names: what the limits stand on', async (t) => {
    const limited = await create({ cpu: 0.5, cpuLimit: 1, memoryMiB: 256, memoryLimitMiB: 512 })
    t.equal((await sh('echo in', limited)).out, 'in\n')
    const names = []
    for await (const { name } of listVolumes(modal)) names.push(name)
    t.ok(names.includes(name))
    t.equal(new Set(names).size, names.length)
  })

  await t.test('looking at a sandbox does not keep it from being idle', async (t) => {
    const idle = await create({ idleTimeoutMs: 10_000 })
    const asked = { from: Date.now(), code: null as number | null }
    while (asked.code === null && Date.now() - asked.from < minute) {
      await idle.getTags()
      await modal.sandboxes.list({ appId: app.appId }).next()
      asked.code = await idle.poll()
      await new Promise((resolve) => setTimeout(resolve, 1000))
    }
    t.not(asked.code, null, 'it has ended, although it was looked at all the time')
    t.match(await endingOf(idle), { reason: 'idle_timeout' }, 'Modal tells why, whatever number it gives')
  })

  await t.test('a process that left its session outlives the exec that started it', async (t) => {
    await sh('setsid sh -c "sleep 3; echo alive > /tmp/outlived" > /dev/null 2>&1 < /dev/null &')
    t.equal((await sh('sleep 6; cat /tmp/outlived')).out, 'alive\n')
  })

  await t.test('a limit on the size of files can be read, and not be raised: how a run\'s processes are known', async (t) => {
    const { out, code } = await sh('grep "Max file size" /proc/self/limits || prlimit --fsize; ulimit -f 1000; ulimit -f 2000')
    t.match(out, /file/i)
    t.not(code, 0)
  })

  await t.test('a program that does not exist fails the start or exits with 127', async (t) => {
    const code = await box.exec(['no-such-program']).then((process) => process.wait(), () => 127)
    t.equal(code, 127)
  })

  await t.test('a terminal passes long lines untouched once it is raw, and the exit code is the command\'s (4.7)', async (t) => {
    const script = 'stty raw -echo; head -c 100000 /dev/zero | tr "\\\\0" x; echo; echo é; exit 7'
    const { out, code } = await sh(script, box, { pty: true })
    t.equal(code, 7)
    t.ok(out.endsWith(`${'x'.repeat(100_000)}\né\n`), `${out.length} characters`)
  })

  await t.test('output that nobody reads does not hold up a command for ever, or it does', async (t) => {
    const process = await box.exec(['sh', '-c', 'head -c 50000000 /dev/zero; echo over > /tmp/over'], { mode: 'binary' })
    const { out } = await sh('for i in $(seq 100); do [ -e /tmp/over ] && break; sleep 0.1; done; cat /tmp/over 2>/dev/null')
    t.comment(out === '' ? 'it is held up until somebody reads' : 'it is not held up')
    let bytes = 0
    for await (const chunk of process.stdout) bytes += chunk.length
    t.equal(bytes, 50_000_000)
  })

  await t.test('a follower of a file hears of a line at once, so tail has inotify here', async (t) => {
    const { out } = await sh(`: > /tmp/log; (tail -n +1 -f /tmp/log | while read -r line; do date +%s%N; break; done) &
      sleep 1; date +%s%N; echo line >> /tmp/log; wait`)
    const [written, heard] = out.trim().split('\n').map(Number)
    t.comment(`${(heard! - written!) / 1e6} ms`)
    t.ok(heard! - written! < 1.5e9)
  })

  await t.test('util-linux `script` gives a command a terminal of its own', async (t) => {
    t.match((await sh('script -qefc tty /dev/null; exit 0')).out, /\/dev\/(pts\/|tty)/)
  })

  await t.test('one exec can find and end what another has started, by its environment (4.6, 5.2)', async (t) => {
    const id = randomUUID()
    const process = await box.exec(['sh', '-c', 'trap "" TERM; setsid sleep 600 & sleep 600'], { env: { [execMarker]: id } })
    t.equal(await killMarked(box, `${execMarker}=${id}`, [{ signal: 'TERM', waitMs: 500 }, { signal: 'KILL', waitMs: 2000 }]), true)
    t.not(await process.wait(), 0)
    t.equal((await sh(`grep -lF ${id} /proc/[0-9]*/environ 2>/dev/null | grep -v "/$$/"`)).out, '')
  })

  await t.test('a timeout of an exec ends it with a code of its own kind', async (t) => {
    const process = await box.exec(['sleep', '60'], { timeoutMs: 2000 })
    const code = await process.wait()
    t.comment(`exit code ${code}`)
    t.ok([-1, 124, 137].includes(code))
  })

  await t.test('an exec in an ended sandbox is refused', async (t) => {
    const ended = await create()
    await ended.terminate({ wait: true })
    await t.rejects(ended.exec(['true']))
  })
})
