import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { startCeph, type CephHost, type Key } from './ceph.js'
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
  /** @returns the bucket's name: this one, but on a server that others use, too. */
  createBucket: (name: string) => Promise<string>
  /** Another key of the same user. */
  createKey: () => Promise<Key>
  close: () => Promise<void>
}

/**
 * Ceph's S3 gateway on loopback, up in one to two seconds. Nothing of it outlives `close`, or this process. Ask `noS3`
 * first.
 *
 * @param options.memoryMiB what all objects together may take; beyond it writes fail.
 */
export async function startS3 ({ memoryMiB = 2048 }: { memoryMiB?: number } = {}): Promise<S3Server> {
  if (noS3) throw new Error(noS3)
  const folder = await mkdtemp(join(tmpdir(), 's3-test-'))
  const daemons: ChildProcess[] = []
  const host: CephHost = {
    folder,
    async run ([program, ...args], stdin = '') {
      const running = run(program!, args, { timeout: 60_000 })
      // A program that fails at once does not read it.
      running.child.stdin!.on('error', () => {}).end(stdin)
      return (await running).stdout
    },
    async daemon (command) {
      // The kernel ends it with this process, however that one ends.
      const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...command], { stdio: 'ignore' })
      daemons.push(child)
      return { hasEnded: () => child.exitCode !== null || child.signalCode !== null }
    }
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
    const [monitorPort, port] = [await freePort(), await freePort()]
    const endpoint = `http://127.0.0.1:${port}`
    const ceph = await startCeph(host, { address: '127.0.0.1', port, monitorPort, memoryMiB, endpoint })
    return cephServer(endpoint, ceph, stop)
  } catch (error) {
    await stop()
    throw error
  }
}

/** What the tests get of Ceph, wherever it runs. @param stop ends it. */
export function cephServer (
  endpoint: string, { key, createKey }: Awaited<ReturnType<typeof startCeph>>, stop: () => Promise<void>
): S3Server {
  const client = s3Client({ endpoint, ...key })
  return {
    endpoint,
    region: 'default',
    ...key,
    client,
    async createBucket (name) {
      await client.send(new CreateBucketCommand({ Bucket: name }))
      return name
    },
    createKey,
    async close () {
      client.destroy()
      await stop()
    }
  }
}

/** A client that asks nothing of a server beyond what S3-compatible ones have. */
export function s3Client (
  { endpoint, accessKeyId, secretAccessKey, region = 'default' }: Key & { endpoint: string, region?: string }
): S3Client {
  return new S3Client({
    endpoint,
    region,
    credentials: { accessKeyId, secretAccessKey },
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED'
  })
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
