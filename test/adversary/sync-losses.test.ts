import { HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { chmod, lstat, lutimes, mkdir, symlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { download } from '../../services/sync/download.js'
import { AgentLauncher } from '../../services/sync/transfer/agent.js'
import { upload } from '../../services/sync/upload.js'
import { SandboxCommands } from '../../services/sync/workspace/commands.js'
import { SandboxWorkspace } from '../../services/sync/workspace/sandbox-workspace.js'
import type { Listing } from '../../services/sync/workspace/workspace.js'
import { localApp, openEmulator } from '../helpers/emulator.js'
import { LocalWorkspace } from '../helpers/local-workspace.js'
import { noS3 } from '../helpers/s3.js'
import { run } from '../helpers/sdk.js'
import { openSyncStage } from '../helpers/sync-stage.js'

/** By its name, each in seconds since 1970. */
const times = { 1901: '-2147483648', 1965: '-157766400.5', 1969: '-0.25', 1970: '0', 2024: '1720000000.999999', 2446: '15032385535' }

t.test('A sync loses no time and nothing that others put there', { skip: noS3 }, async (t) => {
  const { emulator } = await openEmulator(t)
  const { s3, root, storeAt } = await openSyncStage(t)
  const at = (name: string, prefix: string, Workspace = LocalWorkspace) =>
    ({ workspace: new Workspace(join(root, name)), store: storeAt(prefix), prefix })
  const settled = () => new Promise((resolve) => { setTimeout(resolve, 30) })

  const modal = emulator.modal()
  const { app, image } = await localApp(modal, 'losses')
  const sandbox = await modal.sandboxes.create(app, image, {})
  t.teardown(() => sandbox.terminate())
  const commands = new SandboxCommands(sandbox)
  const inSandbox = (directory: string, prefix: string) => {
    const agentLauncher = new AgentLauncher((command, input) => commands.start(command, input), directory)
    t.teardown(() => agentLauncher.close())
    return { workspace: new SandboxWorkspace(commands, directory), store: storeAt(prefix), prefix, agentLauncher }
  }
  const sh = async (script: string) => {
    const { stdout, stderr } = await run(sandbox, ['sh', '-c', script])
    return stdout + stderr
  }
  const look = async (directory: string) => await sh(`cd ${directory}; find . -mindepth 1 -exec stat -c '%n %f %s %.6Y' {} + | sort`)

  async function makeTimes (directory: string) {
    for (const [name, time] of Object.entries(times)) {
      await mkdir(join(directory, `d${name}`), { recursive: true })
      await writeFile(join(directory, name), name)
      await symlink('target', join(directory, `l${name}`))
      await utimes(join(directory, name), time, time)
      await lutimes(join(directory, `l${name}`), time, time)
      await utimes(join(directory, `d${name}`), time, time)
    }
    await settled()
  }

  for (const versioned of [false, true]) {
    await t.test(`Times before 1970 and far ones come back, and nothing is sent again for them${versioned ? ' (versioned)' : ''}`, async (t) => {
      const id = `times${versioned}`
      await makeTimes(join(root, id))
      t.match(await upload({ ...at(id, `${id}/`), versioned }), { files: 12, failed: { length: 0 } })
      t.match(await upload({ ...at(id, `${id}/`), versioned }), { files: 0, skipped: 12, failed: { length: 0 } })
      t.match(await download(at(`${id}2`, `${id}/`)), { files: 12, failed: { length: 0 }, warnings: { length: 0 } })
      t.match(await upload({ ...at(`${id}2`, `${id}/`), versioned }), { files: 0, skipped: 12 })
      for (const name of Object.keys(times).flatMap((name) => [name, `l${name}`, `d${name}`])) {
        const [before, after] = await Promise.all([id, `${id}2`].map((place) => lstat(join(root, place, name))))
        t.ok(Math.abs(before!.mtimeMs - after!.mtimeMs) < 0.01, name)
      }
      await storeAt(`${id}/`).delete(['.modal-sandbox/manifest.gz'])
      if (versioned) return
      t.match(await download(at(`${id}3`, `${id}/`)), { files: 12, failed: { length: 0 } }, 'from the metadata alone')
      for (const name of Object.keys(times)) {
        const [before, after] = await Promise.all([id, `${id}3`].map((place) => lstat(join(root, place, name))))
        t.ok(Math.abs(before!.mtimeMs - after!.mtimeMs) < 0.01, name)
      }
    })
  }

  await t.test('They do in a sandbox, too, where tar and the agent set them', async (t) => {
    await sh(`mkdir /t; cd /t; ${Object.entries(times).map(([name, time]) => `echo 1 > ${name}; touch -d @${time} ${name}`).join('; ')}
      ln -s 1965 l; touch -h -d @-157766400.5 l; sleep 0.1`)
    t.match(await upload(inSandbox('/t', 'tar/')), { files: 7, failed: { length: 0 } })
    t.match(await upload(inSandbox('/t', 'tar/')), { files: 0, skipped: 7, failed: { length: 0 } })
    t.match(await download(inSandbox('/t2', 'tar/')), { files: 7, failed: { length: 0 }, warnings: { length: 0 } })
    t.equal(await look('/t2'), await look('/t'))
    await sh('head -c 5000000 /dev/zero > /t/large; touch -d @-157766400.123456789 /t/large; sleep 0.1')
    t.match(await upload(inSandbox('/t', 'agent/')), { files: 8, failed: { length: 0 } })
    t.match(await upload(inSandbox('/t', 'agent/')), { files: 0, skipped: 8, failed: { length: 0 } })
    t.match(await download(inSandbox('/t3', 'agent/')), { files: 8, failed: { length: 0 }, warnings: { length: 0 } })
    t.match(await upload(inSandbox('/t3', 'agent/')), { files: 0, skipped: 8 })
    t.equal(await look('/t3'), await look('/t'))
  })

  await t.test('A marker of others beside a file of its name keeps its headers, whatever mode the directory gets', async (t) => {
    const put = async (Key: string, more: object = {}) =>
      await s3.client.send(new PutObjectCommand({ Bucket: 'bucket', Key: `marker/${Key}`, Body: '', ...more }))
    await put('n', { Body: 'file' })
    await put('n/', { CacheControl: 'no-store', Metadata: { note: 'theirs' } })
    await put('n/in', { Body: 'in' })
    t.match(await download(at('marker', 'marker/')), { files: 1, failed: { length: 0 } })
    await chmod(join(root, 'marker', 'n'), 0o700)
    await settled()
    const { failed, warnings } = await upload(at('marker', 'marker/'))
    t.strictSame(failed, [])
    t.match(warnings, [{ path: 'n/', message: /stays as it is/ }])
    const marker = await s3.client.send(new HeadObjectCommand({ Bucket: 'bucket', Key: 'marker/n/' }))
    t.match(marker, { CacheControl: 'no-store', Metadata: { note: 'theirs' } })
  })

  await t.test('A file that was stored is no newer work, though its time is in the future: what others made of it comes', async (t) => {
    await mkdir(join(root, 'future'))
    const file = join(root, 'future', 'f')
    await writeFile(file, 'mine')
    await utimes(file, 2_147_483_000, 2_147_483_000)
    await settled()
    await upload(at('future', 'future/'))
    await storeAt('future/').put('f', Buffer.from('theirs, newer'))
    const session = { id: 'sb-next', startedAt: Date.now() }
    t.match(await download({ ...at('future', 'future/'), session, keepNewer: true }), { files: 1, kept: 0, failed: { length: 0 } })
    t.match(await upload({ ...at('future', 'future/'), session }), { files: 0, failed: { length: 0 } })
    t.equal((await storeAt('future/').get('f')).body.toString(), 'theirs, newer')
  })

  await t.test('A file system that tells whole seconds only has nothing sent again', async (t) => {
    class WholeSeconds extends LocalWorkspace {
      override async list (): Promise<Listing> {
        const listing = await super.list()
        const whole = (time: string) => time.replace(/\..*/, '')
        for (const [path, entry] of listing.entries) {
          listing.entries.set(path, { ...entry, mtime: whole(entry.mtime), ctime: whole(entry.ctime) })
        }
        return listing
      }
    }
    await mkdir(join(root, 'whole'))
    await writeFile(join(root, 'whole', 'a'), 'a')
    await settled()
    t.match(await upload(at('whole', 'whole/')), { files: 1 })
    t.match(await upload(at('whole', 'whole/', WholeSeconds)), { files: 0, skipped: 1 })
    t.match(await download(at('whole2', 'whole/', WholeSeconds)), { files: 1, failed: { length: 0 } })
  })

  await t.test('A time that no file system can hold is a warning, and not sent again', async (t) => {
    await storeAt('far/').put('a', Buffer.from('a'), { mtime: '+020000-01-01T00:00:00Z', mode: '0100644' })
    const report = await download(at('far', 'far/'))
    t.match(report, { files: 1, failed: { length: 0 } })
    t.match(await upload(at('far', 'far/')), { files: 0, skipped: 1 })
    t.match(await download(at('far', 'far/')), { files: 0, skipped: 1, failed: { length: 0 } })
    t.match((await storeAt('far/').get('a')).metadata, { mtime: '+020000-01-01T00:00:00Z' })
  })

  await t.test('The time of a directory survives what is put into it', async (t) => {
    await sh(`mkdir -p /d/deep; cd /d/deep; for n in $(seq 600); do echo $n > f$n; done; ln -s /elsewhere/x abs; ln -s ../up rel
      touch -d @1000000000 /d/deep; sleep 0.1`)
    t.match(await upload(inSandbox('/d', 'deep/')), { files: 602, failed: { length: 0 } })
    t.match(await download(inSandbox('/d2', 'deep/')), { files: 602, failed: { length: 0 } })
    t.match(await sh('stat -c %Y /d2/deep'), '1000000000')
    await sh('mkdir -p /s/deep; cd /s/deep; echo 1 > a; ln -s /elsewhere/x abs; touch -d @1000000000 /s/deep; sleep 0.1')
    await upload(inSandbox('/s', 'shallow/'))
    t.match(await download(inSandbox('/s2', 'shallow/')), { files: 2, failed: { length: 0 } })
    t.match(await sh('stat -c %Y /s2/deep'), '1000000000', 'through the service')
    await sh('rm /s2/deep/a; touch -d @1000000000 /s2/deep')
    t.match(await download(inSandbox('/s2', 'shallow/')), { files: 1, failed: { length: 0 } })
    t.match(await sh('stat -c %Y /s2/deep'), '1000000000', 'where it was already')
  })

  await t.test('What others say of their objects survives a change of mode', async (t) => {
    const theirs = {
      ContentType: 'text/css; charset=utf-8',
      CacheControl: 'max-age=60',
      ContentDisposition: 'inline',
      ContentLanguage: 'de',
      Metadata: { colour: 'blue', mtime: '1000' }
    }
    const Key = 'headers/ü +&.css'
    await s3.client.send(new PutObjectCommand({ Bucket: 'bucket', Key, Body: 'a { }', ...theirs }))
    await s3.client.send(new PutObjectCommand({ Bucket: 'bucket', Key: 'headers/empty', Body: '', ...theirs }))
    await s3.client.send(new PutObjectCommand({ Bucket: 'bucket', Key: 'headers/directory/', Body: '', ...theirs }))
    await download(at('headers', 'headers/'))
    for (const mode of [0o755, 0o600]) {
      await chmod(join(root, 'headers', 'ü +&.css'), mode)
      await chmod(join(root, 'headers', 'empty'), mode)
      const directoryMode = (mode & 0o750) | 0o100
      await chmod(join(root, 'headers', 'directory'), directoryMode)
      await settled()
      t.match(await upload(at('headers', 'headers/')), { files: 2, verified: 2, failed: { length: 0 } })
      t.match(await upload(at('headers', 'headers/')), { files: 0, skipped: 2, failed: { length: 0 } })
      const { Metadata, ...headers } = await s3.client.send(new HeadObjectCommand({ Bucket: 'bucket', Key }))
      t.match({ Metadata, ...headers }, { ...theirs, Metadata: { colour: 'blue', mode: `0100${mode.toString(8)}` } })
      const directory = await s3.client.send(new HeadObjectCommand({ Bucket: 'bucket', Key: 'headers/directory/' }))
      t.match(directory, { ...theirs, Metadata: { colour: 'blue', mode: `040${directoryMode.toString(8)}` } })
    }
    t.match(await download(at('headers2', 'headers/')), { files: 2, failed: { length: 0 } })
    t.equal((await lstat(join(root, 'headers2', 'empty'))).mode & 0o7777, 0o600)
    t.equal((await lstat(join(root, 'headers2', 'directory'))).mode & 0o7777, 0o700)
  })

  await t.test('Hard links and holes are told', async (t) => {
    await sh('mkdir /h; cd /h; echo 1 > a; ln a b; ln a c; truncate -s 3M holes; echo 2 > plain; sleep 0.1')
    const { failed, warnings } = await upload(inSandbox('/h', 'odd/'))
    t.strictSame(failed, [])
    t.strictSame(warnings!.map(({ code }) => code), ['HARD_LINKS', 'SPARSE'])
    t.match(warnings!.map(({ message }) => message), [/^This and 2 other files have hard links/, /^The file has holes/])
    t.match(await download(inSandbox('/h2', 'odd/')), { files: 5, failed: { length: 0 }, warnings: { length: 0 } })
    t.equal(await sh('cat /h2/c; stat -c %s /h2/holes'), '1\n3145728\n')
  })
})
