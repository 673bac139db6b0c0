import t from 'tap'
import { tapEndings } from '../../../services/modal/ending.js'
import { makeWorkdir } from '../../../services/sandboxes/workdir.js'
import { localApp, openEmulator, sdkClient } from '../../helpers/emulator.js'
import { run } from '../../helpers/sdk.js'

const { emulator, skip } = await openEmulator(t)

t.test('The first command in a sandbox', { skip }, async (t) => {
  const client = sdkClient(emulator.url, emulator, 'V2', { grpcMiddleware: [tapEndings] })
  t.teardown(() => client.close())
  const { create } = await localApp(client, 'workdirs')

  await t.test('makes its working directory, and says why it cannot', async (t) => {
    const sandbox = await create({ timeoutMs: 60_000 })
    await makeWorkdir(sandbox, '/deep/-p/dir', false)
    t.equal((await run(sandbox, ['ls', '/deep/-p'])).stdout, 'dir\n')
    await t.rejects(makeWorkdir(sandbox, '/etc/hosts/x', false), { code: 'INVALID_SANDBOX', message: /body\.workdir cannot be made: .*directory/i })
    await sandbox.terminate({ wait: true })
  })

  await t.test('tells of one that has ended meanwhile, as with a mount that fails', async (t) => {
    const sandbox = await create({ timeoutMs: 60_000, command: ['sh', '-c', 'exit 3'] })
    await sandbox.wait()
    const details = { exitCode: 3, reason: 'failed' }
    await t.rejects(makeWorkdir(sandbox, '/x', false), { code: 'INVALID_SANDBOX', message: /ended when it started \(failed\)/, details })
  })
})
