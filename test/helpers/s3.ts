import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { randomId } from '../../lib/ids.js'
import { freePort } from './port.js'

const run = promisify(execFile)
const programs = ['monmaptool', 'osdmaptool', 'ceph-mon', 'ceph-osd', 'radosgw', 'radosgw-admin', 'setpriv']
const missing = programs.filter((program) => !isInstalled(program))

/** For tests that need a real S3 server. */
export const noS3 = missing.length > 0 && `Ceph is not installed, or not whole: ${missing.join(', ')} missing`

/** What leads a service to an S3 server. */
export function s3Settings (server: Pick<S3Server, 'endpoint' | 'region' | 'accessKeyId' | 'secretAccessKey'>) {
  return {
    S3_ENDPOINT_URL: server.endpoint,
    S3_REGION: server.region,
    S3_ACCESS_KEY_ID: server.accessKeyId,
    S3_SECRET_ACCESS_KEY: server.secretAccessKey
  }
}

export interface S3Server {
  endpoint: string
  region: string
  accessKeyId: string
  secretAccessKey: string
  client: S3Client
  createBucket: (name: string) => Promise<void>
  /** Another key of the same user. */
  createKey: () => Promise<{ accessKeyId: string, secretAccessKey: string }>
  close: () => Promise<void>
}

/**
 * Ceph's S3 gateway on loopback with one monitor and one OSD in memory, as root or any user, up in one to two
 * seconds. Nothing of it outlives `close`, or this process. Ask `noS3` first.
 *
 * @param options.memoryMiB what all objects together may take; beyond it writes fail.
 */
export async function startS3 ({ memoryMiB = 2048 }: { memoryMiB?: number } = {}): Promise<S3Server> {
  if (noS3) throw new Error(noS3)
  const folder = await mkdtemp(join(tmpdir(), 's3-test-'))
  const [monitorPort, port] = [await freePort(), await freePort()]
  const endpoint = `http://127.0.0.1:${port}`
  const accessKeyId = randomId('key').slice(4, 24)
  const secretAccessKey = randomId('secret').slice(7)
  const conf = join(folder, 'ceph.conf')
  const daemons: ChildProcess[] = []
  const daemon = (program: string, ...args: string[]) => {
    // The kernel ends it with this process, however that one ends.
    daemons.push(spawn('setpriv', ['--pdeathsig', 'KILL', program, '-c', conf, '-f', ...args], { stdio: 'ignore' }))
  }

  async function stop () {
    await Promise.all(daemons.map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGKILL')
      await once(child, 'exit')
    }))
    await rm(folder, { recursive: true, force: true })
  }

  try {
    await Promise.all(['mon', 'osd', 'rgw', 'crash'].map((name) => mkdir(join(folder, name))))
    await writeFile(conf, configuration(folder, monitorPort, port, memoryMiB))
    const [monmap, osdmap] = [join(folder, 'monmap'), join(folder, 'osdmap')]
    await Promise.all([
      run('monmaptool', ['--create', '--addv', 'a', `[v2:127.0.0.1:${monitorPort}]`, monmap]),
      run('osdmaptool', ['--create-from-conf', osdmap, '-c', conf])
    ])
    await run('ceph-mon', ['-c', conf, '-i', 'a', '--mkfs', '--monmap', monmap, '--osdmap', osdmap])
    daemon('ceph-mon', '-i', 'a')
    await run('ceph-osd', ['-c', conf, '-i', '0', '--mkfs'])
    daemon('ceph-osd', '-i', '0')
    await run('radosgw-admin', ['-c', conf, 'user', 'create', '--uid', 'test', '--display-name', 'test',
      '--access-key', accessKeyId, '--secret-key', secretAccessKey], { timeout: 60_000 })
    daemon('radosgw', '-n', 'client.admin')
    await answers(endpoint, daemons)
  } catch (error) {
    const logs = await Promise.all(['mon.a', 'osd.0', 'client.admin'].map((name) =>
      readFile(join(folder, `${name}.log`), 'utf8').then((text) => text.slice(-1000), () => '')))
    await stop()
    throw new Error(`The S3 server did not start:\n${logs.join('\n')}`, { cause: error })
  }

  const client = s3Client({ endpoint, accessKeyId, secretAccessKey })
  return {
    endpoint,
    region: 'default',
    accessKeyId,
    secretAccessKey,
    client,
    async createBucket (name) { await client.send(new CreateBucketCommand({ Bucket: name })) },
    async createKey () {
      const key = { accessKeyId: randomId('key').slice(4, 24), secretAccessKey: randomId('secret').slice(7) }
      await run('radosgw-admin', ['-c', conf, 'key', 'create', '--uid', 'test',
        '--access-key', key.accessKeyId, '--secret-key', key.secretAccessKey], { timeout: 60_000 })
      return key
    },
    async close () {
      client.destroy()
      await stop()
    }
  }
}

/** A client that asks nothing of a server beyond what S3-compatible ones have. */
export function s3Client (
  { endpoint, accessKeyId, secretAccessKey }: Pick<S3Server, 'endpoint' | 'accessKeyId' | 'secretAccessKey'>
): S3Client {
  return new S3Client({
    endpoint,
    region: 'default',
    credentials: { accessKeyId, secretAccessKey },
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED'
  })
}

/** Everything in one folder, everything on loopback, no authentication but S3's own, one copy of each object. */
function configuration (folder: string, monitorPort: number, port: number, memoryMiB: number): string {
  return `[global]
fsid = 00000000-0000-4000-8000-000000000000
mon host = [v2:127.0.0.1:${monitorPort}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
run dir = ${folder}
admin socket =
crash dir = ${folder}/crash
log file = ${folder}/$name.log
mon data = ${folder}/mon
mon data avail crit = 1
mon data avail warn = 2
mon allow pool size one = true
mon osd nearfull ratio = .97
mon osd backfillfull ratio = .98
mon osd full ratio = .99
paxos propose interval = 0.02
paxos min wait = 0.01
osd data = ${folder}/osd
osd objectstore = memstore
memstore device bytes = ${memoryMiB * 2 ** 20}
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pg autoscale mode = off
rgw data = ${folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:${port} tcp_nodelay=1
rgw run sync thread = false
rgw gc obj min wait = 5
rgw gc processor period = 5
rgw gc processor max time = 5
[osd.0]
host = localhost
`
}

async function answers (endpoint: string, daemons: ChildProcess[]): Promise<void> {
  const deadline = Date.now() + 60_000
  while (!await fetch(endpoint).then(({ ok }) => ok, () => false)) {
    if (Date.now() > deadline) throw new Error('no answer within a minute')
    if (daemons.some(({ exitCode, signalCode }) => exitCode !== null || signalCode !== null)) throw new Error('a daemon ended')
    await sleep(25)
  }
}

function isInstalled (program: string): boolean {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
