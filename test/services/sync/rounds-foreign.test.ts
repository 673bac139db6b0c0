import { createHash } from 'node:crypto'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import type { SyncReport } from '../../../schemas/sync.js'
import type { Session } from '../../../services/sync/base.js'
import { download } from '../../../services/sync/download.js'
import { S3Error } from '../../../services/sync/s3/errors.js'
import { ObjectStore } from '../../../services/sync/s3/object-store.js'
import type { AgentLauncher } from '../../../services/sync/transfer/agent.js'
import { upload } from '../../../services/sync/upload.js'
import { SandboxCommands } from '../../../services/sync/workspace/commands.js'
import { SandboxWorkspace } from '../../../services/sync/workspace/sandbox-workspace.js'
import type { Workspace } from '../../../services/sync/workspace/workspace.js'
import { AgentDirectory } from '../../helpers/agent-directory.js'
import { localApp, openEmulator } from '../../helpers/emulator.js'
import { randomFaults, randomNumbers, startFaultProxy, type Chooser } from '../../helpers/fault-proxy.js'
import { foreignObjects, putForeign, seeObjects, type Seen } from '../../helpers/foreign-objects.js'
import { LocalWorkspace } from '../../helpers/local-workspace.js'
import { noRclone, rcloneCheck, rcloneName, rcloneNames } from '../../helpers/rclone.js'
import { noS3, startS3 } from '../../helpers/s3.js'
import { run as runIn } from '../../helpers/sdk.js'
import {
  describeScript, describeTree, differences, incompleteUploads, parseTree, treeProgram, type Tree
} from '../../helpers/trees.js'

const run = promisify(execFile)
const { runTree } = await import(treeProgram)
const program = await readFile(treeProgram, 'utf8')
const rounds = Number(process.env.SYNC_ROUNDS ?? 4)
const firstSeed = Number(process.env.SYNC_SEED ?? 1)
const kinds = ['directory', 'sandbox', 'agent', 'versions'] as const
/** What the file of a name that S3 cannot carry may be refused with, and one below whose name others have objects. */
const expectedRefusals = ['NAME_NOT_CARRIED', 'NAME_RESERVED', 'NAME_TOO_LONG', 'KEY_CONFLICT']
/** What a change of mode may change of the metadata of an object. */
const attributes = ['mode', 'mtime', 'uid', 'gid', 'sandbox']

/** A workspace, as a session has it. */
interface Place {
  directory: string
  task: (task: string, seed: number, argument?: string) => Promise<void>
  describe: () => Promise<Tree>
  open: () => { workspace: Workspace, agentLauncher?: AgentLauncher }
}

/** A sandbox that uses a prefix, and what is asked of its uploads. */
interface SyncChoice { session?: Session, delete?: boolean, isLast?: boolean }

t.test('Sessions on a prefix that others use, too, store all that is theirs and touch nothing else (3.2, 3.5)', { skip: noS3 }, async (t) => {
  const { emulator, skip: noSandbox } = await openEmulator(t)
  const s3 = await startS3({ memoryMiB: 8192 })
  const folder = await mkdtemp(join(tmpdir(), 'sync-foreign-'))
  const prefix = 'theirs & ours/'
  t.teardown(async () => {
    await s3.close()
    await rm(folder, { recursive: true, force: true })
  })
  const sandbox = noSandbox ? undefined : await openSandbox()

  async function openSandbox () {
    const { app, image } = await localApp(emulator.modal(), 'foreign')
    const sandbox = await emulator.modal().sandboxes.create(app, image, { timeoutMs: 12 * 3_600_000 })
    t.teardown(() => sandbox.terminate())
    return sandbox
  }

  async function here (directory: string, withAgent: boolean): Promise<Place> {
    await mkdir(directory, { recursive: true })
    return {
      directory,
      async task (task, seed, argument = '') {
        // What is busy is so in a process of its own: it writes while the sync reads.
        if (task === 'busy') await run('node', [treeProgram, task, directory, String(seed), argument])
        else await runTree(task, directory, seed, argument)
      },
      describe: async () => await describeTree(directory),
      open: () => withAgent
        ? ((workspace) => ({ workspace, agentLauncher: workspace.agentLauncher }))(new AgentDirectory(directory))
        : { workspace: new LocalWorkspace(directory) }
    }
  }

  async function inSandbox (directory: string): Promise<Place> {
    async function exec (...command: string[]) {
      const { stdout, stderr, code } = await runIn(sandbox!, command)
      if (code !== 0) throw new Error(`${command[0]}: ${stderr}`)
      return stdout
    }
    const commands = new SandboxCommands(sandbox!)
    await exec('mkdir', '-p', directory)
    return {
      directory,
      async task (task, seed, argument = '') {
        await exec('node', '--input-type=module', '-e', program, task, directory, String(seed), argument)
      },
      describe: async () => parseTree(await exec('sh', '-c', describeScript, 'sh', directory)),
      open: () => ({ workspace: new SandboxWorkspace(commands, directory) })
    }
  }

  async function openLane (kind: typeof kinds[number], index: number) {
    const bucket = `lane${index}`
    await s3.createBucket(bucket)
    const proxy = await startFaultProxy(s3.endpoint)
    t.teardown(() => proxy.close())
    let isFaulty = false
    /** The faults from now on; without an argument none. */
    const meet = (faults?: Chooser) => {
      isFaulty = faults !== undefined
      proxy.use(faults)
    }
    const place = async (name: string) => kind === 'sandbox' && sandbox !== undefined
      ? await inSandbox(`/tmp/${bucket}/${name}`)
      : await here(join(folder, bucket, name), kind === 'agent')

    /** The report, or undefined when faults made the sync fail as a whole. */
    async function sync (place: Place, direction: 'upload' | 'download', options: SyncChoice = {}): Promise<SyncReport | undefined> {
      const store = new ObjectStore({
        bucket,
        prefix,
        region: s3.region,
        endpoint: proxy.endpoint,
        forcePathStyle: true,
        idleMs: 2000,
        credentials: { get: async () => s3, renew () {} }
      })
      const { workspace, agentLauncher } = place.open()
      const common = { workspace, store, prefix, ...agentLauncher && { agentLauncher } }
      try {
        return direction === 'upload'
          ? await upload({ ...common, ...options, versioned: kind === 'versions' })
          : await download({ ...common, ...options, keepNewer: true })
      } catch (error) {
        if (error instanceof S3Error && isFaulty) return
        throw error
      } finally {
        store.close()
        await agentLauncher?.close()
      }
    }

    async function see (): Promise<Map<string, Seen>> {
      const all = await seeObjects(s3.client, bucket, prefix)
      return new Map([...all].filter(([key]) => !key.startsWith('.modal-sandbox/') || theirs.has(key)))
    }
    /** By key: objects of others, as they are to stay. */
    const theirs = new Map<string, Seen>()
    return { kind, bucket, proxy, meet, place, sync, see, theirs, workspace: await place('workspace') }
  }

  type Lane = Awaited<ReturnType<typeof openLane>>
  const label = ({ kind }: Lane, seed: number) => `${kind}, seed ${seed}`

  /** Others put objects there, some in the place of what there is. */
  async function plant ({ bucket, theirs, workspace }: Lane, random: () => number) {
    const folders = [...await workspace.describe()].filter(([path, { type }]) => type === 'directory' && path.length < 200)
    const objects = foreignObjects(random, folders.map(([path]) => path), 2 + Math.floor(random() * 6))
    await putForeign(s3.client, bucket, prefix, objects)
    const seen = await seeObjects(s3.client, bucket, prefix)
    for (const { key } of objects) theirs.set(key, seen.get(key)!)
  }

  /** A session begins, on a volume or without; always without a failure. */
  async function begin (t: Test, lane: Lane, seed: number, random: () => number, session: Session): Promise<Tree> {
    const { meet, workspace, sync, see, theirs } = lane
    if (random() < 0.4) await workspace.task('clear', seed)
    meet(randomFaults(random, random() * 0.1))
    await sync(workspace, 'download', { session })
    meet()
    t.match(await sync(workspace, 'download', { session }), { failed: { length: 0 } }, `${label(lane, seed)}: a session begins`)
    const now = await see()
    const changes = [...theirs].flatMap(([key, was]) => changesOf(key, was, now.get(key)))
    t.strictSame(changes, [], `${label(lane, seed)}: its begin touches no object`)
    return await workspace.describe()
  }

  /** It works, and stores what it has as it ends. */
  async function end (
    t: Test, lane: Lane, seed: number, random: () => number, choice: SyncChoice
  ): Promise<SyncReport> {
    const { bucket, meet, workspace, sync, theirs } = lane
    await workspace.task('change', seed, seed < firstSeed + kinds.length ? '40' : '20')
    meet(randomFaults(random, random() * 0.1))
    const isBusy = random() < 0.4
    await Promise.all([sync(workspace, 'upload', choice), isBusy ? workspace.task('busy', seed, '500') : undefined])
    meet()
    const report = (await sync(workspace, 'upload', { ...choice, isLast: true }))!
    const refused = report.failed.filter(({ path, code }) => code !== 'KEY_CONFLICT' || hasBelow(theirs.keys(), path))
    t.strictSame(report.failed.filter(({ code }) => !expectedRefusals.includes(code)), [], `${label(lane, seed)}: all is stored`)
    t.strictSame(report.failed, refused, `${label(lane, seed)}: conflicts have a reason`)
    t.strictSame(await incompleteUploads(s3.client, bucket), [], `${label(lane, seed)}: no upload is left open`)
    return report
  }

  /** A later session finds it all, and nothing that nobody has put there. */
  async function reopen (t: Test, lane: Lane, seed: number, before: Tree, report: SyncReport, isDeleting: boolean) {
    const { kind, bucket, sync, see, theirs } = lane
    const { failed, warnings = [] } = report
    const same = (found: unknown, message: string) =>
      t.strictSame(found, [], `${label(lane, seed)}: ${message}`, { failed, warnings })
    const fresh = await lane.place(`fresh${seed}`)
    t.match(await sync(fresh, 'download'), { failed: { length: 0 } }, `${label(lane, seed)}: a later session begins`)
    const found = await fresh.describe()
    const expected = new Map(before)
    for (const { path, code, message } of warnings) {
      const [, copy] = code === 'CONFLICT' ? /stored as (.*)\.$/s.exec(message) ?? [] : []
      if (copy !== undefined) {
        expected.set(copy, before.get(path)!)
        expected.delete(path)
      }
      const directory = path.slice(0, -1)
      if (code !== 'DIRECTORY_WITH_CONTENT') continue
      expected.set(directory, { ...expected.get(directory)!, mode: found.get(directory)!.mode })
    }
    const except = failed.map(({ path }) => path)
    same(differences(expected, found, { except, times: kind === 'sandbox' && !noSandbox ? 'exact' : true }), 'it has all that is said to be stored')
    const isTheirs = (path: string) => theirs.has(path) || theirs.has(`${path}/`) || hasBelow(theirs.keys(), path)
    // What is not stored under its name has not replaced what was there.
    const elsewhere = new Set([...before.keys()].filter((path) => except.includes(path) || !expected.has(path)))
    const isKept = (path: string) => isTheirs(path) || parents(path).some((parent) => elsewhere.has(parent))
    if (isDeleting) same([...found.keys()].filter((path) => !expected.has(path) && !isKept(path)), 'and nothing else')
    if (kind === 'directory' || kind === 'agent') {
      if (!noRclone) {
        const checked = await rcloneCheck(s3, fresh.directory, `${bucket}/${prefix.slice(0, -1)}`)
        same([...checked.other, ...checked.onlyHere], 'rclone finds no difference')
        t.strictSame(checked.same, rcloneNames(found, 'file'), `${label(lane, seed)}: rclone finds each file`)
        const known = new Set([...[...theirs.keys()].map(rcloneName), ...rcloneNames(found, 'symlink')])
        // What a directory hides is not deleted.
        for (const path of rcloneNames(found, 'directory')) known.add(path)
        same(checked.onlyThere.filter((path) => !known.has(path)), 'rclone finds nothing else')
      }
      const ours = [...(await see()).keys()].filter((key) => !theirs.has(key)).map((key) => key.replace(/\/$/, ''))
      same(ours.filter((path) => !found.has(path)), 'every object of ours is opened')
    }
    await fresh.task('clear', seed)
  }

  async function round (t: Test, lane: Lane, seed: number) {
    const random = randomNumbers(seed)
    const session = { id: `sb-${seed}`, startedAt: Date.now() }
    await plant(lane, random)
    const begun = await begin(t, lane, seed, random, session)
    const isDeleting = random() < 0.5
    const report = await end(t, lane, seed, random, { session, delete: isDeleting })
    const before = await lane.workspace.describe()
    t.strictSame(await wronged(lane, begun, before), [], `${label(lane, seed)}: what is theirs is as it was`)
    await reopen(t, lane, seed, before, report, isDeleting)
  }

  /** What a session did to objects of others that it has not changed itself; what it has is its own from now on. */
  async function wronged ({ kind, see, theirs }: Lane, begun: Tree, before: Tree): Promise<string[]> {
    const now = await see()
    const wrong: string[] = []
    for (const [key, was] of theirs) {
      const change = kind === 'versions' ? 'none' : changeOf(key, was, begun, before)
      const is = now.get(key)
      if (changesOf(key, was, is).length === 0) continue
      theirs.delete(key)
      if (change === 'none' || (change === 'mode' && is === undefined)) wrong.push(...changesOf(key, was, is))
      else if (change === 'mode') {
        wrong.push(...changesOf(key, unattributed(was), unattributed(is!)))
        theirs.set(key, is!)
      }
    }
    return wrong
  }

  await t.test(`${rounds} rounds`, async (t) => {
    if (noRclone) t.comment(noRclone)
    if (noSandbox) t.comment(noSandbox)
    const counts = new Map<string, number>()
    await Promise.all(kinds.slice(0, rounds).map(async (kind, index) => {
      const lane = await openLane(kind, index)
      for (let seed = firstSeed + index; seed < firstSeed + rounds; seed += kinds.length) await round(t, lane, seed)
      for (const [fault, count] of lane.proxy.counts) counts.set(fault, (counts.get(fault) ?? 0) + count)
    }))
    t.comment(`faults: ${JSON.stringify(Object.fromEntries(counts))}`)
  })
})

/**
 * What a session did to what an object of others stands for. It never had what a workspace cannot have, or what another
 * object has taken the place of; and what it has removed it does not delete in S3.
 */
function changeOf (key: string, { sha256, storedAt }: Seen, begun: Tree, before: Tree): 'none' | 'mode' | 'other' {
  const path = key.replace(/\/$/, '')
  const [was, is] = [begun.get(path), before.get(path)]
  if (was === undefined || key.endsWith('/') !== (was.type === 'directory')) return 'none'
  const content = was.type === 'file' ? was.content : createHash('sha256').update(was.content).digest('hex')
  // A newer file was kept in its place.
  if (content !== sha256) return !key.endsWith('/') && Number(was.time) / 1e6 > storedAt ? 'other' : 'none'
  if (is === undefined) return parents(path).some((parent) => (before.get(parent)?.type ?? 'directory') !== 'directory') ? 'other' : 'none'
  if (is.type !== was.type || is.content !== was.content) return 'other'
  if (is.type !== 'directory' && is.time !== was.time) return 'other'
  return is.mode === was.mode ? 'none' : 'mode'
}

function changesOf (key: string, was: Seen, is: Seen | undefined): string[] {
  const [expected, found] = [was, is].map((one) => JSON.stringify(one))
  return expected === found ? [] : [`${JSON.stringify(key)}: ${expected}, found ${found}`]
}

function unattributed ({ metadata, ...rest }: Seen): Seen {
  const own = Object.entries(metadata).filter(([name]) => !attributes.includes(name))
  return { ...rest, etag: '', storedAt: 0, metadata: Object.fromEntries(own.sort()) }
}

function parents (path: string): string[] {
  const names = path.split('/')
  return names.slice(1).map((_, index) => names.slice(0, index + 1).join('/'))
}

function hasBelow (keys: Iterable<string>, path: string): boolean {
  return [...keys].some((key) => key.startsWith(`${path}/`))
}
