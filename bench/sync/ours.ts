import { readFile, rm, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { download } from '../../services/sync/download.js'
import { ObjectStore } from '../../services/sync/s3/object-store.js'
import { upload } from '../../services/sync/upload.js'
import { LocalWorkspace } from '../../test/helpers/local-workspace.js'
import type { Stage } from '../stage.js'
import type { Peer, Server } from './peers.js'

const program = await readFile(fileURLToPath(new URL('make-tree.js', import.meta.url)), 'utf8')
const api = '/api/modal/sandbox'

/** The whole way: HTTP, service, SDK, emulator, sandbox; and back to S3 through the service. */
export async function openOurs ({ request, servicePid }: Stage, bucket: string, tree: string[]) {
  const volume = { name: `tree-${Date.now()}` }
  const post = async (path: string, json: object) =>
    await (await request(path, json, { method: 'POST', headers: { accept: 'application/json' } })).json() as any

  async function sandbox (keyPrefix: string) {
    const { id } = await post(api, {
      volume,
      timeoutMs: 3_600_000,
      idleTimeoutMs: 3_600_000,
      s3: { bucket, keyPrefix, initialize: false, syncOnTerminate: false }
    })
    return id as string
  }
  async function exec (id: string, ...command: string[]) {
    const { exitCode, stderr } = await post(`${api}/${id}/exec`, { command, timeoutMs: 600_000 })
    if (exitCode !== 0) throw new Error(stderr)
  }
  async function timed (id: string, direction: 'upload' | 'download') {
    const started = performance.now()
    const report = await post(`${api}/${id}/sync`, { direction })
    if (report.failed.length > 0) throw new Error(JSON.stringify(report.failed.slice(0, 3)))
    return (performance.now() - started) / 1000
  }
  async function end (id: string) {
    await request(`${api}/${id}`, undefined, { method: 'DELETE' })
  }
  const first = await sandbox('tree')
  await exec(first, 'node', '--input-type=module', '-e', program, 'in', '/workspace', ...tree)
  // The volume has it all now, and a sandbox a copy to itself.
  await end(first)
  const byPrefix = new Map<string, string>()

  return {
    name: 'this service, whole way',
    async upload (_directory: string, prefix: string) {
      const id = byPrefix.get(prefix) ?? await sandbox(prefix)
      byPrefix.set(prefix, id)
      return await timed(id, 'upload')
    },
    async download (prefix: string) {
      const id = byPrefix.get(prefix)!
      await exec(id, 'sh', '-c', 'rm -rf /workspace/*')
      const seconds = await timed(id, 'download')
      // The copies of all rounds would fill the memory.
      byPrefix.delete(prefix)
      await end(id)
      return seconds
    },
    /** Starts to measure anew. */
    async resetPeak () { await writeFile(`/proc/${servicePid}/clear_refs`, '5') },
    /** Resident memory of the service since then, at most; MiB. */
    async peak () {
      const status = await readFile(`/proc/${servicePid}/status`, 'utf8')
      return Number(/VmHWM:\s+(\d+)/.exec(status)![1]) / 1024
    },
    async close () {
      for (const id of byPrefix.values()) await end(id)
    }
  }
}

/** The same engine on a directory of this machine. */
export function engine (server: Server, bucket: string): Peer {
  async function timed (work: typeof upload | typeof download, directory: string, prefix: string) {
    const store = new ObjectStore({
      bucket,
      prefix,
      region: server.region,
      endpoint: server.endpoint,
      forcePathStyle: true,
      credentials: { get: async () => server, renew () {} }
    })
    const started = performance.now()
    const { failed } = await work({ workspace: new LocalWorkspace(directory), store, prefix })
    if (failed.length > 0) throw new Error(JSON.stringify(failed.slice(0, 3)))
    store.close()
    return (performance.now() - started) / 1000
  }
  return {
    name: 'engine on a directory',
    upload: async (directory, prefix) => await timed(upload, directory, prefix),
    async download (prefix, directory) {
      await rm(directory, { recursive: true, force: true })
      return await timed(download, directory, prefix)
    }
  }
}
