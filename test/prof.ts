import { testEmulator } from './helpers/emulator.js'
import { runCommand } from '../services/modal/process.js'
import { SandboxCommands } from '../services/sync/workspace/commands.js'
import { acquireSyncLock } from '../services/sync/lock.js'
const emulator = await testEmulator()
const modal = emulator.modal()
const app = await modal.apps.fromName('p', { createIfMissing: true })
const sandbox = await modal.sandboxes.create(app, modal.images.fromRegistry('local'))
const time = async (name: string, work: () => Promise<unknown>) => {
  const all: number[] = []
  for (let i = 0; i < 25; i++) { const t = performance.now(); await work(); all.push(performance.now() - t) }
  all.sort((a, b) => a - b); console.log(name, all[12]!.toFixed(1), all[0]!.toFixed(1))
}
const commands = new SandboxCommands(sandbox)
await time('true', () => runCommand(sandbox, 't', ['true']))
await time('acquire+release', async () => { const l = await acquireSyncLock(commands, () => {}); await l.release() })
await sandbox.terminate(); await emulator.stop(); modal.close(); process.exit()
