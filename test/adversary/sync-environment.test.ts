import t from 'tap'
import { download } from '../../services/sync/download.js'
import { acquireSyncLock, readSyncState } from '../../services/sync/lock.js'
import { upload } from '../../services/sync/upload.js'
import { SandboxCommands } from '../../services/sync/workspace/commands.js'
import { SandboxWorkspace } from '../../services/sync/workspace/sandbox-workspace.js'
import { scripts } from '../../services/sync/workspace/scripts.js'
import { localApp, openEmulator } from '../helpers/emulator.js'
import { noS3 } from '../helpers/s3.js'
import { run } from '../helpers/sdk.js'
import { openSyncStage } from '../helpers/sync-stage.js'

/** Each by itself has made syncs fail, or may. */
const environments: Record<string, Record<string, string>> = {
  'a library that is missing': { LD_PRELOAD: '/missing.so' },
  'options of tar': { TAR_OPTIONS: '--no-such-option' },
  'options of tar that leave out': { TAR_OPTIONS: '--exclude=*' },
  'options of the shell': { SHELLOPTS: 'errexit:nounset:noglob:xtrace' },
  'POSIX only': { POSIXLY_CORRECT: '1', _POSIX2_VERSION: '199209' },
  'a language': { LC_ALL: 'de_DE.UTF-8', LANG: 'de_DE.UTF-8', LANGUAGE: 'de' },
  'a place for cd to look': { CDPATH: '/tmp:/usr', TZ: 'Asia/Tokyo', IFS: '/', ENV: '/missing', BASH_ENV: '/missing' }
}

t.test('What an image has in its environment keeps nobody from syncing', { skip: noS3 }, async (t) => {
  const { emulator } = await openEmulator(t)
  const { storeAt } = await openSyncStage(t)
  const modal = emulator.modal()
  const { app, image } = await localApp(modal, 'environment')
  for (const [name, env] of Object.entries(environments)) {
    await t.test(`${name}: ${Object.keys(env).join(' ')}`, async (t) => {
      const sandbox = await modal.sandboxes.create(app, image, { env })
      t.teardown(() => sandbox.terminate())
      const commands = new SandboxCommands(sandbox)
      const options = (root: string, output?: ConstructorParameters<typeof SandboxWorkspace>[2]) => {
        const prefix = `${Object.keys(env)[0]}${Object.values(env)[0]!.length}/`
        return { workspace: new SandboxWorkspace(commands, root, output), store: storeAt(prefix), prefix }
      }
      await run(sandbox, ['env', '-i', 'sh', '-c', `PATH=${process.env.PATH}; mkdir -p /from/dir; cd /from; echo 1 > dir/a; echo 2 > 'b *'; ln -s dir l; sleep 0.05`])
      const lock = await acquireSyncLock(commands, () => {}, { then: { script: scripts.list, args: ['/from'] } })
      const report = await upload(options('/from', lock.output)).finally(() => lock.release())
      t.match(report, { files: 3, verified: 3, failed: { length: 0 } })
      t.match(await readSyncState(commands), { active: false })
      t.match(await download(options('/to')), { files: 3, verified: 3, failed: { length: 0 } })
      t.match(await upload(options('/to')), { files: 0, skipped: 3, failed: { length: 0 } })
    })
  }
})
