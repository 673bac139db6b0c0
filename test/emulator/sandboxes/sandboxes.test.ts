import { status } from '@grpc/grpc-js'
import { Probe, TimeoutError } from 'modal'
import { createHash } from 'node:crypto'
import t from 'tap'
import type { Container } from '../../../emulator/container/types.js'
import { Lifetime } from '../../../emulator/sandboxes/lifetime.js'
import { SandboxRegistry } from '../../../emulator/sandboxes/registry.js'
import { Sandbox, type SandboxInfo } from '../../../emulator/sandboxes/sandbox.js'
import { expectNothingUnexpected, localApp, openEmulator } from '../../helpers/emulator.js'
import { creator, firstText, ids, run } from '../../helpers/sdk.js'

const { emulator, skip } = await openEmulator(t)

t.test('on the default backend', { skip }, async (t) => {
  const modal = emulator.modal()
  const { image, create } = await localApp(modal, 'more')
  const sandbox = await create()

  t.test('a list has pages, newest first, and leaves nobody out', async (t) => {
    const crowd = await modal.apps.fromName('crowd', { createIfMissing: true })
    const made = []
    const createOne = creator(modal, crowd, image)
    for (let i = 0; i < 12; i++) made.push(await createOne({ command: ['sleep', '600'] }))
    t.same(await ids(modal.sandboxes.list({ appId: crowd.appId })), made.map(({ sandboxId }) => sandboxId).reverse())
    await Promise.all(made.map((one) => one.terminate({ wait: true })))
    t.same(await ids(modal.sandboxes.list({ appId: crowd.appId })), [])
  })

  t.test('fifty execs at once, each with its own answer (10.2)', async (t) => {
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => run(sandbox, ['sh', '-c', `sleep 0.1; echo ${i}; exit ${i}`])))
    t.same(answers.map(({ stdout, code }) => [stdout, code]), answers.map((_, i) => [`${i}\n`, i]))
  })

  t.test('fifty megabytes arrive byte by byte, however slow the reader; memory stays flat', async (t) => {
    const size = 50_000_000
    const script = `head -c ${size} /dev/urandom | tee /tmp/big; sha256sum /tmp/big >&2`
    const process = await sandbox.exec(['sh', '-c', script], { mode: 'binary' })
    t.equal(await process.wait(), 0)
    const hash = createHash('sha256')
    let received = 0
    for await (const chunk of process.stdout) {
      hash.update(chunk)
      received += chunk.length
    }
    t.equal(received, size)
    t.match(Buffer.from(await process.stderr.readBytes()).toString(), hash.digest('hex'))
  })

  t.test('output arrives while the command runs', async (t) => {
    const process = await sandbox.exec(['sh', '-c', 'echo early; read line; echo late'])
    t.equal(await firstText(process.stdout), 'early\n')
    await process.closeStdin()
    t.equal(await process.wait(), 0)
  })

  t.test('a cut network, and a probe that says when a sandbox is ready', async (t) => {
    const cut = await create({ blockNetwork: true, readinessProbe: Probe.withExec(['test', '-e', '/tmp/ready'], { intervalMs: 100 }) })
    await t.rejects(cut.waitUntilReady(300), TimeoutError)
    t.equal((await run(cut, ['sh', '-c', 'cut -d: -f1 -s /proc/net/dev | tr -d " "'])).stdout, 'lo\n')
    await run(cut, ['touch', '/tmp/ready'])
    await cut.waitUntilReady(30_000)
    await t.rejects(sandbox.waitUntilReady(1000), /FAILED_PRECONDITION/)
  })
})

t.test('an idle time of a month does not end a sandbox at once', async (t) => {
  const expired: string[] = []
  const lifetime = new Lifetime(31 * 86_400, 31 * 86_400, async (reason) => { expired.push(reason) })
  lifetime.begin()
  await new Promise((resolve) => setTimeout(resolve, 50))
  lifetime.end()
  t.same(expired, [])
})

t.test('of ended sandboxes the oldest are forgotten, and what they have printed with them', async (t) => {
  const registry = new SandboxRegistry()
  const discarded: string[] = []
  for (let index = 0; index < 502; index++) {
    const [id, definition] = [`sb-${index}`, { timeoutSecs: 1, volumeMounts: [] }]
    const container = { exited: Promise.resolve({ code: 0 }), discard: async () => { discarded.push(id) } }
    const info = { id, taskId: `ta-${index}`, definition } as unknown as SandboxInfo
    const sandbox = new Sandbox(info, [], {
      start: async () => container as unknown as Container,
      open: async () => { throw new Error('it has no network') }
    })
    registry.add(sandbox)
    await sandbox.ended
  }
  await new Promise(setImmediate)
  t.same(discarded, ['sb-0'])
  t.throws(() => registry.byId('sb-0'), { code: status.NOT_FOUND })
  t.equal(registry.byId('sb-1').running, false)
})

expectNothingUnexpected(t, emulator)
