import { once } from 'node:events'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { removeTree } from '../emulator/container/host.js'
import { eventually } from './helpers/containers.js'
import { sdkClient } from './helpers/emulator.js'
import { startEmulatorProcess } from './helpers/processes.js'
import { noS3 } from './helpers/s3.js'
import { ids, run } from './helpers/sdk.js'
import { spawnNode } from './helpers/spawn-node.js'

const root = fileURLToPath(new URL('..', import.meta.url))

type Env = Record<string, string | undefined>

/** A test file, or another program, in a process that has these variables and no others. */
function startLive (file: string, env: Env) {
  return spawnNode([file], {
    cwd: root, env: { PATH: process.env.PATH, TAP: '1', TEST_LIVE: '1', ...env }, stdio: ['ignore', 'pipe', 'pipe']
  })
}

/** What a test file prints. */
async function runLive (file: string, env: Env) {
  const child = startLive(file, env)
  let output = ''
  let errors = ''
  child.stdout!.on('data', (chunk: Buffer) => { output += chunk.toString() })
  child.stderr!.on('data', (chunk: Buffer) => { errors += chunk.toString() })
  const [code] = await once(child, 'close')
  return { code, output, errors }
}

t.test('Without Modal credentials the live tests skip, and say what to set (8.2)', async (t) => {
  for (const env of [{}, { MODAL_TOKEN_ID: 'ak-1' }]) {
    const { code, output } = await runLive('test/integration/exec.test.ts', env)
    t.equal(code, 0)
    t.match(output, /# SKIP Modal credentials are not configured: set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET/)
    t.notMatch(output, /^\s*ok (?!.*# SKIP)/m, 'no test has run')
  }
})

t.test('With nothing but Modal\'s token', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'live-mode-'))
  t.teardown(() => removeTree(dataDir))
  // Where sandboxes have networks of their own, nothing on this machine's loopback helps them, as on Modal.
  const { emulator, modal } = await startEmulatorProcess(dataDir, { EMULATOR_NETWORK: '' })
  t.teardown(() => emulator.stop())
  const client = sdkClient(modal['MODAL_SERVER_URL']!, {
    tokenId: modal['MODAL_TOKEN_ID']!, tokenSecret: modal['MODAL_TOKEN_SECRET']!
  })
  t.teardown(() => { client.close() })
  const env = { ...modal, CLAUDE_IMAGE: 'local' }
  const running = async () => await ids(client.sandboxes.list())

  await t.test('a sync runs live: the model and S3 are in sandboxes, which end and say what they cost (8.1)', {
    skip: noS3
  }, async (t) => {
    const { code, output, errors } = await runLive('test/integration/sync-readers.test.ts', { ...env, TAP_TIMEOUT: '300' })
    t.equal(code, 0, output)
    t.match(output, /^ok 1 - Other programs read what a sync has stored # time/m, 'and was not skipped')
    for (const name of ['model', 's3']) t.match(errors, new RegExp(`^live: ${name} ran for \\d+ s .*: about \\$0\\.0`, 'm'))
    t.strictSame(await running(), [])
  })

  await t.test('a sandbox of tests lives as long as they renew its lease: once they are killed it ends by itself', async (t) => {
    const holder = startLive('test/fixtures/hold-live-sandbox.ts', env)
    const [id] = await once(holder.stdout!, 'data') as [Buffer]
    const sandbox = await client.sandboxes.fromId(id.toString().trim())
    const leases = new Set<string>()
    const renewed = async () => {
      leases.add((await run(sandbox, ['stat', '-c', '%y', '/tmp/lease'])).stdout)
      return leases.size > 3
    }
    t.ok(await eventually(renewed))
    t.equal(await sandbox.poll(), null)
    holder.kill('SIGKILL')
    await once(holder, 'close')
    t.ok(await eventually(async () => await sandbox.poll() !== null, 60_000))
  })
})
