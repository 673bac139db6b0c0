import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { removeTree } from '../../../emulator/container/host.js'
import { createRuntime } from '../../../emulator/container/runtime.js'
import type { Isolation } from '../../../emulator/container/types.js'
import { repeatAsUser } from '../../helpers/as-user.js'
import { noGvisor } from '../../helpers/isolation.js'

async function holdsMemory (isolation: Isolation, strictness = {}): Promise<boolean> {
  const dataDir = await mkdtemp(join(tmpdir(), 'runtime-'))
  const runtime = await createRuntime({ dataDir, log: { warn () {} }, isolation, strictness })
  const answer = await runtime.enforces('memory')
  await runtime.close()
  await removeTree(dataDir)
  return answer
}

const skip = await holdsMemory('namespaces') && 'control groups hold limits of memory here'

t.test('A watch over memory holds its limits where the machine shows the processes of containers', { skip }, async (t) => {
  t.equal(await holdsMemory('namespaces', { 'memory-limits': 100 }), true)
})

t.test('On gVisor, such a watch holds nothing', { skip: skip || noGvisor }, async (t) => {
  t.equal(await holdsMemory('runsc', { 'memory-limits': 100 }), false)
})

t.test('Where networks are asked for and can not be had, nothing starts', async (t) => {
  const start = async (network?: 'own') => {
    const dataDir = await mkdtemp(join(tmpdir(), 'runtime-'))
    t.teardown(() => removeTree(dataDir))
    const runtime = await createRuntime({ dataDir, log: { warn () {} }, isolation: 'namespaces', network })
    const missing = await runtime.withoutNetworks()
    await runtime.close()
    return missing
  }
  const missing = await start()
  if (missing === undefined) t.equal(await start('own'), undefined)
  else await t.rejects(start('own'), { message: `EMULATOR_NETWORK is own, but sandboxes can't have networks of their own here: ${missing}` })
})

repeatAsUser(t, import.meta.url)
