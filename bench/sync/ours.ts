import { readFile, rm, writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { download } from '../../services/sync/download.js'
import { ObjectStore } from '../../services/sync/s3/object-store.js'
import { upload } from '../../services/sync/upload.js'
import { LocalWorkspace } from '../../test/helpers/local-workspace.js'
import type { SyncProgress } from '../../schemas/sync.js'
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

/** What it took to prove that all is stored. */
export interface Proof { requests: number, seconds: number, share: number }

/** The last that an upload does before it writes the manifest is to ask what S3 has. */
class ProvenStore extends ObjectStore {
  requests = 0
  seconds = 0
  #begunAt: number | undefined

  begin () { this.#begunAt = performance.now() }

  override async * list (...args: Parameters<ObjectStore['list']>) {
    for await (const page of super.list(...args)) {
      this.#count()
      yield page
    }
  }

  override async head (key: string) {
    this.#count()
    return await super.head(key)
  }

  override async put (...args: Parameters<ObjectStore['put']>) {
    if (this.#begunAt !== undefined) this.seconds = (performance.now() - this.#begunAt) / 1000
    this.#begunAt = undefined
    return await super.put(...args)
  }

  #count () { if (this.#begunAt !== undefined) this.requests++ }
}

/** The same engine on a directory of this machine. */
export function engine (server: Server, bucket: string): Peer & { proofs: Proof[] } {
  const proofs: Proof[] = []
  async function timed (work: typeof upload | typeof download, directory: string, prefix: string) {
    const store = new ProvenStore({
      bucket,
      prefix,
      region: server.region,
      endpoint: server.endpoint,
      forcePathStyle: true,
      credentials: { get: async () => server, renew () {} }
    })
    const started = performance.now()
    const onProgress = ({ phase }: SyncProgress) => { if (work === upload && phase === 'verify') store.begin() }
    const { failed } = await work({ workspace: new LocalWorkspace(directory), store, prefix, onProgress })
    if (failed.length > 0) throw new Error(JSON.stringify(failed.slice(0, 3)))
    store.close()
    const seconds = (performance.now() - started) / 1000
    const { requests, seconds: proving } = store
    if (requests > 0) proofs.push({ requests, seconds: proving, share: proving / seconds })
    return seconds
  }
  return {
    name: 'engine on a directory',
    proofs,
    upload: async (directory, prefix) => await timed(upload, directory, prefix),
    async download (prefix, directory) {
      await rm(directory, { recursive: true, force: true })
      return await timed(download, directory, prefix)
    }
  }
}
