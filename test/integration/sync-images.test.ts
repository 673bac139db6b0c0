import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ModalClient, type App, type Sandbox } from 'modal'
import t, { type Test } from 'tap'
import { randomId } from '../../lib/ids.js'
import { SandboxService } from '../../services/sandboxes/service.js'
import { download } from '../../services/sync/download.js'
import { acquireSyncLock, readSyncState } from '../../services/sync/lock.js'
import { SyncStats } from '../../services/sync/report.js'
import { SecretReader } from '../../services/sync/s3/credentials.js'
import { ObjectStore } from '../../services/sync/s3/object-store.js'
import { upload } from '../../services/sync/upload.js'
import { SandboxCommands, type CommandInput, type RunningCommand } from '../../services/sync/workspace/commands.js'
import { SandboxWorkspace } from '../../services/sync/workspace/sandbox-workspace.js'
import type { WorkspaceLost } from '../../services/sync/workspace/workspace.js'
import { accountOf } from '../helpers/account.js'
import { installBusybox, noBusybox } from '../helpers/busybox.js'
import { eventually } from '../helpers/containers.js'
import { testEmulator } from '../helpers/emulator.js'
import { makeSecrets } from '../helpers/live-secrets.js'
import { noS3, reachableS3 } from '../helpers/reachable-s3.js'
import { run } from '../helpers/sdk.js'
import { live, skip } from '../helpers/service.js'
import { readBucket } from '../helpers/trees.js'

const notRoot = !live && process.getuid!() !== 0 && 'only root may become another user'

/** Everything of it runs as an ordinary user, as in an image that has another USER. */
class AsUser extends SandboxCommands {
  override async start (command: string[], input?: CommandInput): Promise<RunningCommand> {
    return await super.start(['setpriv', '--reuid', '1234', '--regid', '1234', '--clear-groups', ...command], input)
  }
}

const local = live ? process.env.CLAUDE_IMAGE ?? 'node:22-slim' : 'local'
const noSmallImage = !live && noBusybox
const small = noSmallImage ? local : 'busybox:1'
/** Nobody else's secrets: live they are in the operator's workspace. */
const [aws, full] = [`aws-${randomId('s').slice(2, 10)}`, `full-${randomId('s').slice(2, 10)}`]
const secrets: Record<string, Record<string, string>> = {
  [aws]: { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' },
  [full]: {
    AWS_ACCESS_KEY_ID: 'k',
    AWS_SECRET_ACCESS_KEY: 's',
    AWS_SESSION_TOKEN: 't',
    AWS_DEFAULT_REGION: 'eu-1',
    AWS_ENDPOINT_URL_S3: 'http://s3',
    AWS_CREDENTIAL_EXPIRATION: '2100-01-01T00:00:00Z'
  }
}

/** A client of the emulator, or live of Modal. */
async function openModal (t: Test, images: string): Promise<ModalClient> {
  if (!live) {
    const emulator = await testEmulator({ images: { 'busybox:1': images }, secrets })
    t.teardown(() => emulator.stop())
    return emulator.modal()
  }
  const client = new ModalClient()
  t.teardown(() => { client.close() })
  t.teardown(await makeSecrets(secrets))
  return client
}

t.test('Images, users and mounts that a workspace may have', { skip: skip || noS3 }, async (t) => {
  const s3 = await reachableS3(t)
  if (s3 === undefined) return
  t.teardown(() => s3.close())
  const bucket = await s3.createBucket('bucket')
  const images = await mkdtemp(join(tmpdir(), 'sync-images-'))
  t.teardown(() => rm(images, { recursive: true }))
  const modal = await openModal(t, images)
  const app = await modal.apps.fromName('acct-live-images', { createIfMissing: true })
  const stores: ObjectStore[] = []
  t.teardown(() => { for (const store of stores) store.close() })

  const start = async (tag: string) =>
    await modal.sandboxes.create(app, await modal.images.fromRegistry(tag).build(app), {})
  const sh = async (sandbox: Sandbox, script: string) => {
    const { stdout, stderr } = await run(sandbox, ['sh', '-c', script])
    return stdout + stderr
  }
  const options = (exec: SandboxCommands, prefix: string) => {
    const { region, endpoint } = s3
    const credentials = { get: async () => s3, renew () {} }
    const store = new ObjectStore({ bucket, prefix, region, endpoint, forcePathStyle: true, credentials })
    stores.push(store)
    return { workspace: new SandboxWorkspace(exec, '/work'), store, prefix }
  }
  const look = 'cd /work; find . -mindepth 1 -exec stat -c "%n %F %a %s %Y" {} + | sort; find . -type f -exec sha256sum {} + | sort; readlink link'

  await t.test('An image with nothing but busybox is synced both ways', { skip: noSmallImage }, async (t) => {
    if (!live) {
      for (const name of ['bin', 'etc', 'tmp', 'root']) await mkdir(join(images, name))
      await installBusybox(images)
    }
    const [from, to] = await Promise.all([start(small), start(small)])
    for (const sandbox of [from, to]) await sh(sandbox, 'mkdir /work')
    t.match(await sh(from, 'ls --help'), /BusyBox/)
    await sh(from, `cd /work; mkdir -p 'a b' empty; echo 1 > 'a b/ü+%'; printf run > run; chmod 4755 run; chmod 700 empty
      ln -s 'a b' link; head -c 9000000 /dev/urandom > large; : > nothing; touch -d '2020-02-02 02:02:02' run
      printf x > "$(printf 'new\\nline')"; touch -d '2020-02-02 02:02:02' *`)
    const expected = await sh(from, look)
    t.match(await upload(options(new SandboxCommands(from), 'busybox/')), { files: 6, verified: 6, failed: { length: 0 } })
    t.match(await upload(options(new SandboxCommands(from), 'busybox/')), { files: 0, skipped: 6 }, 'and nothing of it again')
    t.match(await download(options(new SandboxCommands(to), 'busybox/')), { files: 6, verified: 6, failed: { length: 0 } })
    const plain = (text: string) => text.replace(/^(\.\/a b directory \d+ \d+) .*$/gm, '$1').replace(/^(.*symbolic link.*) .*$/gm, '$1')
    t.equal(plain(await sh(to, look)), plain(expected))
    await sh(to, 'rm -r /work/run; mkdir -p /work/run/x; echo changed > /work/nothing')
    // Its tar gives a symlink the time at which it writes it, so that it counts as another one.
    t.match(await download(options(new SandboxCommands(to), 'busybox/')), { files: 3, skipped: 3, failed: { length: 0 } })
    await Promise.all([from.terminate(), to.terminate()])
  })

  await t.test('A user that is not root syncs what it may, and is told what it may not (2.5)', { skip: notRoot }, async (t) => {
    const [from, to] = await Promise.all([start(local), start(local)])
    t.teardown(() => Promise.all([from.terminate(), to.terminate()]))
    await sh(from, "mkdir /work; cd /work; echo 1 > '\\\\670'; echo 2 > 'a\\\\nb'; echo 3 > 'c\\\\\\\\d'; sleep 0.1")
    t.match(await upload(options(new SandboxCommands(from), 'quotes/')), { files: 3, failed: { length: 0 } }, 'a backslash is a letter of a name')
    await sh(from, 'rm -r /work')
    for (const sandbox of [from, to]) await sh(sandbox, 'mkdir -p /work /tmp && chown 1234:1234 /work && chmod 1777 /tmp')
    await sh(from, `cd /work; mkdir locked shut; echo 1 > mine; echo 2 > secret; chmod 600 secret; echo 3 > locked/x
      chmod 755 locked; echo 4 > shut/y; chmod 700 shut; chown 1234:1234 mine; chmod 640 mine`)
    const report = await upload(options(new AsUser(from), 'user/'))
    t.match(report, { files: 2, verified: 2 })
    t.strictSame(report.failed.map(({ path, code }) => `${path} ${code}`).sort(), ['secret UNREADABLE', 'shut UNREADABLE'])
    await t.rejects(upload({ ...options(new AsUser(from), 'user/'), delete: true }), { code: 'SYNC_REFUSED', message: /cannot be read/ })
    t.strictSame([...(await readBucket(s3.client, bucket, 'user/')).keys()].sort(), ['locked/x', 'mine', 'shut'])

    await sh(to, 'cd /work; mkdir locked; chmod 755 locked')
    const restored = await download(options(new AsUser(to), 'user/'))
    t.strictSame(restored.failed.map(({ path, code }) => `${path} ${code}`), ['locked/x NOT_VERIFIED'])
    t.equal(await sh(to, 'stat -c "%n %U %a" /work/mine'), '/work/mine UNKNOWN 640\n')
    await sh(to, 'chown 1234 /work/locked')
    t.match(await download(options(new AsUser(to), 'user/')), { files: 1, skipped: 1, failed: { length: 0 } })
    const exec = new AsUser(to)
    await (await acquireSyncLock(exec, () => {})).release()
    t.match(await readSyncState(exec), { active: false, last: null })
  })

  await t.test('The sync lock has one holder, which notices when it was replaced, and a dead one loses it', async (t) => {
    const sandbox = await start(small)
    t.teardown(() => sandbox.terminate())
    const exec = new SandboxCommands(sandbox)
    const lost: string[] = []
    const onLost = ({ message }: WorkspaceLost) => { lost.push(message) }
    const pace = { heartbeatMs: 200, giveUpMs: 5000 }
    const first = await acquireSyncLock(exec, onLost, { pace })
    await t.rejects(acquireSyncLock(exec, onLost), { code: 'SYNC_ACTIVE' })
    t.match(await readSyncState(exec), { active: true, last: null })
    const old = await sh(sandbox, 'cd /tmp/.modal-sandbox && touch -d "@$(($(date +%s) - 30))" sync_* && stat -c %Y sync_*')
    t.ok(await eventually(async () => Number(await sh(sandbox, 'stat -c %Y /tmp/.modal-sandbox/sync_*')) > Number(old)), 'it says that it lives')
    await first.release()
    t.match(await readSyncState(exec), { active: false })

    const dead = await acquireSyncLock(exec, onLost, { pace: { heartbeatMs: 1500, giveUpMs: 5000 } })
    await sh(sandbox, 'touch -d "@$(($(date +%s) - 41))" /tmp/.modal-sandbox/sync_*')
    const next = await acquireSyncLock(exec, onLost)
    t.ok(await eventually(async () => lost.length > 0), 'who comes back too late notices')
    t.strictSame(lost, ['another sync has taken over'])
    await dead.release()
    t.match(await readSyncState(exec), { active: true }, 'and does not take it from the next')
    await next.release()
    const orphan = await acquireSyncLock(exec, onLost, { pace: { heartbeatMs: 100, giveUpMs: 300 } })
    await sandbox.terminate({ wait: true })
    t.ok(await eventually(async () => lost.length > 1))
    t.equal(lost[1], 'its sandbox does not answer')
    await t.rejects(orphan.release(), { name: 'WorkspaceLost' })
  })

  await t.test('The command that acquires the sync lock does the first work, and waits for the release, but not for ever', async (t) => {
    const sandbox = await start(small)
    t.teardown(() => sandbox.terminate())
    const exec = new SandboxCommands(sandbox)
    const work = (script: string) => ({ then: { script, args: ['here'] } })
    const listening = async () => (await sh(sandbox, 'cat /proc/[0-9]*/cmdline | tr "\\0" " "')).match(/sync-lock|sleep 600/) !== null

    const failing = await acquireSyncLock(exec, () => {}, work('cat; echo "$1"; exit 7'))
    t.equal((await failing.output.until('\n'))?.toString(), 'here', 'nothing that it is told is for the work')
    const report = { ...new SyncStats().report('upload'), failed: [] }
    await failing.release({ direction: 'upload', finishedAt: new Date().toISOString(), report })
    t.match(await readSyncState(exec), { active: false, last: { report } }, 'nor does it matter how that ends')
    t.ok(await eventually(async () => !await listening()))

    const stop = new AbortController()
    const stopped = await acquireSyncLock(exec, () => {}, { ...work('sleep 600'), signal: stop.signal })
    t.ok(await listening())
    stop.abort()
    t.ok(await eventually(async () => !await listening()), 'a sync that is stopped ends it')
    t.match(await readSyncState(exec), { active: true }, 'but has its place until it gives it back')
    await stopped.release()
    t.match(await readSyncState(exec), { active: false, last: { report } })

    const long = await acquireSyncLock(exec, () => {}, { pace: { holdMs: 1000 } })
    t.ok(await eventually(async () => !await listening()), 'it does not keep the sandbox awake for ever')
    t.match(await readSyncState(exec), { active: true })
    await long.release()
    t.match(await readSyncState(exec), { active: false })
  })

  await t.test('Of many replicas that want the sync lock at once one gets it, also from a dead holder and its dead successor', async (t) => {
    const sandbox = await start(small)
    t.teardown(() => sandbox.terminate())
    const contest = async () => {
      const take = async () => await acquireSyncLock(new SandboxCommands(sandbox), () => {})
      const all = await Promise.allSettled(Array.from({ length: 8 }, take))
      const lost = all.filter((one) => one.status === 'rejected' && one.reason.code === 'SYNC_ACTIVE')
      t.equal(lost.length, 7)
      return all.find((one) => one.status === 'fulfilled')!.value
    }
    let holder = await contest()
    for (let round = 0; round < 4; round++) {
      await sh(sandbox, 'touch -d "@$(($(date +%s) - 41))" /tmp/.modal-sandbox/sync_*')
      if (round % 2 === 1) await sh(sandbox, `cd /tmp/.modal-sandbox/sync-lock && ln -s sync_killed${round} "$(readlink head).next"`)
      const dead = holder
      holder = await contest()
      await dead.release()
      await t.rejects(acquireSyncLock(new SandboxCommands(sandbox), () => {}), { code: 'SYNC_ACTIVE' })
    }
    await holder.release()
    t.match(await readSyncState(new SandboxCommands(sandbox)), { active: false })
  })

  await t.test('What a secret says about S3 is read once, and again when S3 refuses it (2.7)', async (t) => {
    const read: unknown[] = []
    const log = { info: (fields: unknown) => { read.push(fields) }, warn () {}, error () {} }
    const buildImage = async (app: App) => await modal.images.fromRegistry(local).build(app)
    const reader = new SecretReader({ client: modal, buildImage, log })
    const [values] = await Promise.all([reader.read(full), reader.read(full)])
    const expected = { accessKeyId: 'k', secretAccessKey: 's', sessionToken: 't', region: 'eu-1', endpointUrl: 'http://s3', expiresAt: 4_102_444_800_000 }
    t.strictSame(values, expected)
    reader.forget(full)
    reader.forget('unknown')
    t.strictSame(await reader.read(full), expected)
    t.equal(read.length, 1, 'not again within seconds: many requests may fail on it together')
    t.strictSame(await reader.read(aws), { accessKeyId: 'a', secretAccessKey: 'b' })
    await t.rejects(reader.read(`${aws}-none`), { code: 'SECRET_NOT_FOUND' })
  })

  await t.test('A bucket is mounted by Modal with a secret, read-only unless asked, and its keys are not in the sandbox (1.3, 1.5)', {
    skip: live && 'Modal would mount the bucket, with keys that are none'
  }, async (t) => {
    const sent: any[] = []
    const { cpClient } = modal as any
    for (const name of ['sandboxCreate', 'sandboxCreateV2']) {
      const create = cpClient[name].bind(cpClient)
      cpClient[name] = (request: any, ...rest: unknown[]) => {
        sent.push(request.definition)
        return create(request, ...rest)
      }
    }
    const log = { info () {}, warn () {}, error () {} }
    const service = new SandboxService({
      client: modal,
      log,
      image: { backend: 'local', claudeImage: 'local', claudeVersion: '1' } as never,
      timeouts: { timeoutMs: 60_000, idleTimeoutMs: 60_000 },
      deployment: 'images'
    })
    const account = accountOf({ id: 'mounts', s3: [{ bucket: 'bucket', keyPrefix: '{account}', secretName: aws }] })
    const create = (more: object) => service.create(account, {
      s3: {
        bucket: 'bucket', mountPath: '/bucket', secretName: aws, initialize: false, readOnly: true, syncOnTerminate: true, syncAfterRun: false, versioned: false, delete: false, ...more
      }
    } as never)
    await t.rejects(create({}), { code: 'NOT_SUPPORTED' }, 'the emulator has no mounts')
    await t.rejects(create({ readOnly: false, endpointUrl: undefined, keyPrefix: 'mounts/a' }), { code: 'NOT_SUPPORTED' })
    const { secretId } = await modal.secrets.fromName(aws)
    t.match(sent.map(({ cloudBucketMounts }) => cloudBucketMounts), [
      [{ bucketName: 'bucket', mountPath: '/bucket', credentialsSecretId: secretId, readOnly: true, keyPrefix: 'mounts/', bucketType: 1 }],
      [{ readOnly: false, keyPrefix: 'mounts/a/', credentialsSecretId: secretId }]
    ])
    for (const { secretIds } of sent) t.notOk(secretIds.includes(secretId))

    const roleArn = 'arn:aws:iam::123456789012:role/modal'
    account.s3 = [{ bucket: 'bucket', roleArn }]
    await t.rejects(create({ secretName: undefined }), { code: 'NOT_SUPPORTED' })
    t.match(sent.at(-1).cloudBucketMounts, [{ oidcAuthRoleArn: roleArn, credentialsSecretId: '' }], 'a role in place of the secret')
  })
})
