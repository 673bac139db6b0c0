import { status } from '@grpc/grpc-js'
import { AlreadyExistsError, InvalidError, NotFoundError } from 'modal'
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { expectNothingUnexpected, localApp, openEmulator } from '../../helpers/emulator.js'
import { ids, run, send } from '../../helpers/sdk.js'

const { emulator, bare, skip } = await openEmulator(t, {
  secrets: { alpha: { SHARED: 'from alpha', ALPHA: '1' }, beta: { SHARED: 'from beta', BETA: '2' } }
})

// Both families wait a lot, for deadlines: side by side.
t.jobs = 2
for (const family of ['V2', 'V1'] as const) {
  t.test(`${family} sandboxes`, { skip, buffered: true }, async (t) => {
    const modal = emulator.modal(family)
    const { app, create } = await localApp(modal, `core-${family}`)
    const sandbox = await create({ env: { GREETING: 'hello' } })

    t.test('the id tells the family, and what runs inside sees where it is (2.1)', async (t) => {
      t.match(sandbox.sandboxId, family === 'V1' ? /^sb-[0-9A-Za-z]{22}$/ : /^sb-[0-9A-Z]{26}$/)
      const { stdout } = await run(sandbox, ['env'])
      t.match(stdout, `MODAL_SANDBOX_ID=${sandbox.sandboxId}\n`)
      t.match(stdout, /^MODAL_TASK_ID=ta-\w+$/m)
      t.match(stdout, /^MODAL_IS_REMOTE=1$/m)
      t.match(stdout, /^MODAL_ENVIRONMENT=main$/m)
      t.match(stdout, /^HOME=\/root$/m)
      t.match(stdout, /^GREETING=hello$/m)
      t.notMatch(stdout, emulator.tokenSecret)
      t.equal(await sandbox.poll(), null)
    })

    t.test('stdout, stderr and exit codes of an exec', async (t) => {
      const both = await run(sandbox, ['sh', '-c', 'echo out; echo err >&2; exit 7'])
      t.same(both, { stdout: 'out\n', stderr: 'err\n', code: 7 })
      t.same(await run(sandbox, ['true']), { stdout: '', stderr: '', code: 0 })
      t.same(await run(sandbox, ['sh', '-c', 'kill -TERM $$']), { stdout: '', stderr: '', code: 143 })
      const silent = await sandbox.exec(['sh', '-c', 'echo lost; echo kept >&2'], { stdout: 'ignore' })
      t.equal(await silent.stdout.readText(), '')
      t.equal(await silent.stderr.readText(), 'kept\n')
    })

    t.test('bytes go in and come out as they are, and stdin ends when it is closed', async (t) => {
      const bytes = randomBytes(300_000)
      const process = await sandbox.exec(['cat'], { mode: 'binary' })
      const sending = send(process, [bytes.subarray(0, 1), bytes.subarray(1)])
      const [received] = await Promise.all([process.stdout.readBytes(), sending])
      t.ok(Buffer.from(received).equals(bytes))
      t.equal(await process.wait(), 0)
    })

    t.test('a terminal has 24 rows and 80 columns, CRLF, and no stderr of its own', async (t) => {
      const process = await sandbox.exec(['sh', '-c', 'stty size; echo err >&2; test -t 0; exit $?'], { pty: true })
      t.equal(await process.stdout.readText(), '24 80\r\nerr\r\n')
      t.equal(await process.stderr.readText(), '')
      t.equal(await process.wait(), 0)
    })

    t.test('an exec that takes too long is killed: 137', async (t) => {
      // The SDK's own deadline is the same: which of the two ends the wait is a race, on Modal, too.
      const process = await sandbox.exec(['sleep', '60'], { timeoutMs: 1000 })
      const outcome = await process.wait().catch((error: Error) => error.message)
      t.ok(outcome === 137 || /Deadline exceeded/.test(String(outcome)), String(outcome))
      const { taskId, jwt } = await bare.task(sandbox.sandboxId)
      await bare.router(jwt, 'TaskExecStart', { taskId, execId: 'slow', commandArgs: ['sleep', '60'], timeoutSecs: 1 })
      t.same(await bare.router(jwt, 'TaskExecWait', { taskId, execId: 'slow' }), { signal: 9 })
    })

    t.test('workdir and variables of one exec', async (t) => {
      const { stdout } = await run(sandbox, ['sh', '-c', 'pwd; echo $GREETING $EXTRA'], { workdir: '/etc', env: { EXTRA: 'more', GREETING: 'bye' } })
      t.equal(stdout, '/etc\nbye more\n')
    })

    t.test('what ended is still answered: output, exit codes, poll; and nothing new starts', async (t) => {
      const short = await create()
      const process = await short.exec(['echo', 'before the end'])
      t.equal(await process.wait(), 0)
      t.equal(await short.terminate({ wait: true }), 137)
      t.equal(await short.terminate({ wait: true }), 137)
      t.equal(await short.poll(), 137)
      t.equal(await process.stdout.readText(), 'before the end\n')
      t.equal(await process.wait(), 0)
      await t.rejects(short.exec(['true']), { code: status.NOT_FOUND })
      await t.rejects(short.filesystem.stat('/'), NotFoundError)
      await t.rejects((await modal.sandboxes.fromId(sandbox.sandboxId.slice(0, -1) + '!')).poll(), { code: status.NOT_FOUND })
    })

    t.test('an entrypoint has streams, ends the sandbox, and gives its exit code', async (t) => {
      const script = 'read line; printf "got %s \\303" "$line"; sleep 0.2; printf "\\251\\n"; echo err >&2; exit 42'
      const entry = await create({ command: ['sh', '-c', script] })
      const writer = entry.stdin.getWriter()
      await writer.write('a line\n')
      await writer.close()
      t.equal(await entry.wait(), 42)
      t.equal(await entry.poll(), 42)
      t.equal(await entry.stdout.readText(), 'got a line \u00e9\n')
      t.equal(await entry.stderr.readText(), 'err\n')
    })

    t.test('a sandbox that reaches its timeout or stays idle ends: 124, and not 124', async (t) => {
      // The command starts as soon as its sandbox runs, and ends when it is told to: no race with the idle timeout.
      const createBusy = async () => {
        const busy = await create({ idleTimeoutMs: 1000 })
        return { busy, work: await busy.exec(['sh', '-c', 'read line; exit 0']) }
      }
      const [timed, idle, { busy, work }] = await Promise.all([
        create({ timeoutMs: 2000 }), create({ idleTimeoutMs: 1000 }), createBusy()
      ])
      t.equal((await run(busy, ['true'])).code, 0, 'the end of one exec is no idleness while another runs')
      t.equal(await idle.wait(), 137)
      t.equal(await timed.wait(), 124)
      t.equal(await busy.poll(), null)
      await work.closeStdin()
      t.equal(await work.wait(), 0)
      t.equal(await busy.wait(), 137)
    })

    t.test('names are unique among the running sandboxes of an app (1.4)', async (t) => {
      const name = `named-${family}`
      const first = await create({ name })
      await t.rejects(create({ name }), AlreadyExistsError)
      t.equal((await modal.sandboxes.fromName(app.name!, name)).sandboxId, first.sandboxId)
      await first.terminate({ wait: true })
      await t.rejects(modal.sandboxes.fromName(app.name!, name), NotFoundError)
      if (family === 'V2') {
        const ended = await modal.sandboxes.fromName(app.name!, name, { includeTerminated: true })
        t.equal(ended.sandboxId, first.sandboxId)
        const later = await create()
        await later.experimentalSetName(name)
        t.equal((await modal.sandboxes.fromName(app.name!, name)).sandboxId, later.sandboxId)
      }
    })

    t.test('tags are set at create, replaced as a whole, and filter lists', async (t) => {
      const tagged = await create({ tags: { owner: 'a', run: '1' } })
      t.same(await tagged.getTags(), { owner: 'a', run: '1' })
      t.same(await ids(modal.sandboxes.list({ appId: app.appId, tags: { owner: 'a' } })), [tagged.sandboxId])
      await tagged.setTags({ owner: 'b' })
      t.same(await tagged.getTags(), { owner: 'b' })
      t.same(await ids(modal.sandboxes.list({ appId: app.appId, tags: { owner: 'b', run: '1' } })), [])
      await t.rejects(tagged.setTags({ owner: '' }), InvalidError)
      await t.rejects(create({ tags: { long: 'x'.repeat(300) } }), /INVALID_ARGUMENT/)
      await tagged.terminate({ wait: true })
      t.notMatch(await ids(modal.sandboxes.list({ appId: app.appId })), [tagged.sandboxId])
    })

    t.test('secrets come in their order, plain variables last; required keys are checked (4.8)', async (t) => {
      const [alpha, beta] = await Promise.all([modal.secrets.fromName('alpha', { requiredKeys: ['ALPHA'] }), modal.secrets.fromName('beta')])
      const inline = await modal.secrets.fromObject({ INLINE: 'x', BETA: 'inline' })
      const box = await create({ secrets: [beta, alpha, inline], env: { INLINE: 'env' } })
      const show = ['sh', '-c', 'echo "$SHARED|$ALPHA|$BETA|$INLINE"']
      t.equal((await run(box, show)).stdout, 'from alpha|1|inline|env\n')
      t.equal((await run(box, show, { secrets: [alpha, beta] })).stdout, 'from beta|1|2|env\n')
      await t.rejects(modal.secrets.fromName('alpha', { requiredKeys: ['ALPHA', 'MISSING'] }), { message: /Secret is missing key\(s\): MISSING/ })
      await t.rejects(modal.secrets.fromName('gamma'), { message: "Secret 'gamma' not found" })
    })

    t.test('what the emulator can not do it refuses, and says so (UNIMPLEMENTED)', async (t) => {
      const refusals: Array<[string, () => Promise<unknown>]> = [
        ['domains', () => create({ outboundDomainAllowlist: ['example.com'] })],
        ['network', () => sandbox.updateNetworkPolicy({ outboundCidrAllowlist: [], outboundDomainAllowlist: [] })]
      ]
      for (const [name, refused] of refusals) await t.rejects(refused(), { message: /UNIMPLEMENTED.*emulator/ }, name)
      await t.rejects(create({ timeoutMs: 25 * 3600_000 }), /INVALID_ARGUMENT.*timeout_secs/)
    })
  })
}

expectNothingUnexpected(t, emulator)
