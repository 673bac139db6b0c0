import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { access, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { digest } from '../../lib/ids.js'
import { noRclone, rclone } from '../helpers/rclone.js'
import { noS3, reachableS3 } from '../helpers/reachable-s3.js'
import { s3Settings } from '../helpers/s3.js'
import { accountIds, keys, skip, startService } from '../helpers/service.js'
import { describeScript, describeTree, differences, parseTree, type Tree } from '../helpers/trees.js'

const run = promisify(execFile)
const noS3fs = await run('s3fs', ['--version']).then(() => access('/dev/fuse', constants.R_OK | constants.W_OK)).then(
  () => process.getuid!() === 0 ? false : 'mounting needs root', () => 's3fs (Debian: s3fs) or /dev/fuse is missing')
const api = '/api/modal/sandbox'

t.test('Other programs read what a sync has stored', { skip: skip || noS3 }, async (t) => {
  const s3 = await reachableS3(t)
  if (s3 === undefined) return
  t.teardown(() => s3.close())
  const bucket = await s3.createBucket('work')
  const service = await startService({
    ACCOUNTS: JSON.stringify([{ id: accountIds.alice, apiKeys: [`sha256:${digest(keys.alice)}`], s3: [{ bucket }] }]),
    ...s3Settings(s3)
  })
  t.teardown(() => service.close())

  async function request (path: string, json?: object, method = json === undefined ? 'GET' : 'POST'): Promise<any> {
    const headers = { accept: 'application/json' }
    const response = await service.request(path, { method, headers, ...json && { json } })
    const body = await response.json()
    if (response.status !== 200) throw new Error(JSON.stringify(body))
    return body
  }
  async function created (keyPrefix: string): Promise<string> {
    return (await request(api, { s3: { bucket, keyPrefix, initialize: false, syncOnTerminate: false } })).id
  }
  async function exec (id: string, ...command: string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await request(`${api}/${id}/exec`, { command })
    if (exitCode !== 0) throw new Error(stderr)
    return stdout
  }
  const describe = async (id: string): Promise<Tree> =>
    parseTree(await exec(id, 'sh', '-c', describeScript, 'sh', '/workspace'))
  const store = async (id: string) => await request(`${api}/${id}/sync`, { direction: 'upload' })
  const end = async (id: string) => await request(`${api}/${id}`, undefined, 'DELETE')

  await t.test('rclone reads what was stored, modes and times included', { skip: noRclone }, async (t) => {
    const id = await created('rclone')
    // rclone knows no symlinks and no empty directories in S3.
    await exec(id, 'sh', '-c', 'mkdir -p "a b/ü" && echo one > "a b/ü/+%#?&.txt" && chmod 640 "a b/ü/+%#?&.txt" && ' +
      'printf run > run && chmod 755 run && touch -d 2020-02-02T02:02:02.5Z run')
    const expected = await describe(id)
    await store(id)
    const folder = await mkdtemp(join(tmpdir(), 'sync-rclone-'))
    await rclone(s3, ['copy', '--metadata', '--exclude', '/.modal-sandbox/**', `s3:${bucket}/rclone`, folder])
    t.strictSame(differences(expected, await describeTree(folder), { times: true }), [])
    await rm(folder, { recursive: true })
    await end(id)
  })

  await t.test('s3fs shows what was stored: modes, times, symlinks and empty directories', { skip: noS3fs }, async (t) => {
    const id = await created('s3fs')
    await exec(id, 'sh', '-c', 'mkdir -p "a b/ü" empty && chmod 750 empty && echo one > "a b/ü/+%#?&.txt" && ' +
      'chmod 640 "a b/ü/+%#?&.txt" && ln -s "a b/ü" link && printf run > run && chmod 755 run && touch -d 2020-02-02T02:02:02Z run')
    const expected = await describe(id)
    await store(id)
    const folder = await mkdtemp(join(tmpdir(), 'sync-s3fs-'))
    const [mounted, keys] = [join(folder, 'mounted'), join(folder, 'keys')]
    await mkdir(mounted)
    await writeFile(keys, `${s3.accessKeyId}:${s3.secretAccessKey}`, { mode: 0o600 })
    t.teardown(async () => {
      await run('umount', [mounted]).catch(() => {})
      await rm(folder, { recursive: true })
    })
    const options = ['ro', `url=${s3.endpoint}`, 'use_path_request_style', `passwd_file=${keys}`]
    await run('s3fs', [`${bucket}:/s3fs`, mounted, ...options.flatMap((option) => ['-o', option])])
    const seen = new Map([...await describeTree(mounted)].filter(([path]) => !path.startsWith('.modal-sandbox')))
    // A directory without an object of its own has whatever mode the reader gives it; s3fs tells whole seconds.
    const plain = [...expected].filter(([, { type, mode }]) => type === 'directory' && mode === 0o755).map(([path]) => path)
    for (const [path, { type }] of seen) if (plain.includes(path)) t.equal(type, 'directory')
    t.strictSame([...seen.keys()].sort(), [...expected.keys()].sort())
    for (const path of plain) expected.delete(path)
    t.strictSame(differences(expected, seen), [])
    t.equal(seen.get('run')!.time, String(Date.parse('2020-02-02T02:02:02Z') * 1_000_000))
    await end(id)
  })
})
