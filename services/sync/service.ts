import { setMaxListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { AppError, chain, wrap } from '../../errors.js'
import type { LastSync, SyncReport, SyncSpec, SyncState } from '../../schemas/sync.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { within, type Log } from '../sandboxes/steps.js'
import type { StorageRecord } from '../sandboxes/tags.js'
import type { SecretReader } from './credentials.js'

import { S3Fault } from './faults.js'
import { readState, takeLock, type Held } from './lock.js'
import { ObjectStore } from './object-store.js'
import type { OnProgress } from './report.js'
import { download } from './restore.js'
import type { S3Credentials } from './s3-http.js'
import { SandboxExec } from './sandbox-exec.js'
import { SandboxWorkspace } from './sandbox-workspace.js'
import { upload } from './save.js'
import { listVersions } from './versions.js'
import { WorkspaceLost } from './workspace.js'

export interface S3Settings {
  endpointUrl: string | undefined
  region: string
  forcePathStyle: boolean | undefined
  credentials: S3Credentials | undefined
}

export interface SyncServiceOptions {
  s3: S3Settings
  secrets: Pick<SecretReader, 'read' | 'forget'>
  log: Log
}

export interface SyncOptions extends Partial<Omit<SyncSpec, 'direction'>> {
  direction: SyncSpec['direction']
  onProgress?: OnProgress
  log?: Log
  /** How long to wait for a sync that is running. */
  patienceMs?: number
  /** Leave alone what is younger in the workspace. */
  keepNewer?: boolean
}

/** Running syncs get so long to give their place back when the service stops. */
const closeMs = 4000

/** Copies workspaces between sandboxes and S3. What it knows of them is in Modal's tags, the sandbox and S3. */
export class SyncService {
  readonly #options: SyncServiceOptions
  readonly #closing = new AbortController()
  readonly #running = new Set<Promise<unknown>>()

  constructor (options: SyncServiceOptions) {
    this.#options = options
    // Every request that is under way listens.
    setMaxListeners(0, this.#closing.signal)
  }

  /**
   * Syncs the workspace of a sandbox, one at a time.
   * @throws {AppError} NO_STORAGE, SYNC_ACTIVE, SYNC_REFUSED, VERSION_NOT_FOUND, WORKSPACE_LOST, S3_REFUSED,
   * S3_UNAVAILABLE; SYNC_INCOMPLETE with the report when single files failed (2.5).
   */
  async sync (owned: OwnedSandbox, options: SyncOptions): Promise<SyncReport> {
    const { direction, log = this.#options.log } = options
    const storage = storageOf(owned)
    const ids = { sandboxId: owned.id, direction, bucket: storage.bucket, prefix: storage.prefix }
    log.info(ids, 'sync started')
    const work = this.#sync(owned, storage, options)
    this.#running.add(work)
    try {
      const report = await work
      const { failed, ...counts } = report
      log.info({ ...ids, ...counts, failed: failed.length }, 'sync completed')
      if (failed.length > 0) throw incomplete(report)
      return report
    } catch (error) {
      throw explain(error)
    } finally {
      this.#running.delete(work)
    }
  }

  /** Whether a sync runs, how the last one went, and the saves of a versioned workspace. @throws {AppError} as sync. */
  async state (owned: OwnedSandbox): Promise<SyncState> {
    const storage = storageOf(owned)
    try {
      const state = await readState(new SandboxExec(owned.sandbox))
      if (!storage.versioned) return state
      const store = await this.#open(storage)
      try {
        return { ...state, versions: await listVersions(store) }
      } finally {
        store.close()
      }
    } catch (error) {
      throw explain(error)
    }
  }

  /** Stops what runs; the workspace and S3 are whole as far as they came, and the next sync goes on from there. */
  async close (): Promise<void> {
    this.#closing.abort(new AppError('SHUTTING_DOWN'))
    await within(closeMs, () => Promise.allSettled([...this.#running])).catch(() => {})
  }

  async #sync (owned: OwnedSandbox, storage: StorageRecord, options: SyncOptions): Promise<SyncReport> {
    const { direction, log = this.#options.log, onProgress } = options
    const { signal } = this.#closing
    const root = owned.mountPath ?? owned.workdir
    const workspace = new SandboxWorkspace(new SandboxExec(owned.sandbox, signal), root)
    const store = await this.#open(storage)
    // Not with the signal: a sync that is stopped gives its place back.
    const held = await this.#take(new SandboxExec(owned.sandbox), options.patienceMs ?? 0).catch((error: unknown) => {
      store.close()
      throw error
    })
    let last: LastSync | undefined
    try {
      const common = {
        workspace,
        store,
        prefix: storage.prefix,
        onProgress,
        dryRun: options.dryRun ?? false,
        delete: options.delete ?? false
      }
      const report = direction === 'upload'
        ? await upload({ ...common, versioned: storage.versioned })
        : await download({ ...common, version: options.version, keepNewer: options.keepNewer ?? false })
      if (!report.dryRun) last = { direction, finishedAt: new Date().toISOString(), report }
      return report
    } finally {
      store.close()
      await held.leave(last).catch((error: unknown) => {
        log.warn({ sandboxId: owned.id, chain: chain(error) }, 'sync could not be signed off in the sandbox')
      })
    }
  }

  async #take (exec: SandboxExec, patienceMs: number): Promise<Held> {
    for (const until = Date.now() + patienceMs; ;) {
      try {
        return await takeLock(exec)
      } catch (error) {
        if (!(error instanceof AppError) || Date.now() >= until) throw error
        await sleep(500, undefined, { signal: this.#closing.signal })
      }
    }
  }

  async #open ({ bucket, prefix, secretName, region, endpointUrl }: StorageRecord): Promise<ObjectStore> {
    const { s3, secrets } = this.#options
    const get = async () => {
      const credentials = secretName === undefined ? s3.credentials : await secrets.read(secretName)
      if (credentials === undefined) throw new AppError('S3_REFUSED', { message: 'The service has no S3 credentials.' })
      return credentials
    }
    const { region: ofSecret, endpointUrl: endpointOfSecret } = await get() as { region?: string, endpointUrl?: string }
    const endpoint = endpointUrl ?? endpointOfSecret ?? s3.endpointUrl
    return new ObjectStore({
      bucket,
      prefix,
      region: region ?? ofSecret ?? s3.region,
      endpoint,
      // S3-compatible servers seldom have a host name for every bucket.
      forcePathStyle: s3.forcePathStyle ?? endpoint !== undefined,
      credentials: { get, renew: () => { if (secretName !== undefined) secrets.forget(secretName) } },
      signal: this.#closing.signal
    })
  }
}

function storageOf ({ s3 }: OwnedSandbox): StorageRecord {
  if (s3 === undefined) throw new AppError('NO_STORAGE')
  return s3
}

function incomplete (report: SyncReport): AppError {
  const [first] = report.failed
  const message = `${report.failed.length} files could not be synced, such as ${first!.path}: ${first!.message}`
  return new AppError('SYNC_INCOMPLETE', { message, details: { report } })
}

/** What clients may know of it; the rest is for the log. */
function explain (cause: unknown): AppError {
  if (cause instanceof AppError) return cause
  if (cause instanceof WorkspaceLost) {
    return new AppError('WORKSPACE_LOST', { message: `The workspace can not be synced: ${cause.message}.`, cause })
  }
  if (!(cause instanceof S3Fault)) return wrap(cause, 'sync')
  if (cause.kind === 'transient' || cause.kind === 'slow') {
    return new AppError('S3_UNAVAILABLE', { message: `S3 can not be reached, or is too slow: ${cause.code}.`, cause })
  }
  const messages: Record<string, string> = {
    NoSuchBucket: 'The S3 bucket does not exist.',
    AccessDenied: 'The S3 credentials may not use this bucket or prefix.',
    SignatureDoesNotMatch: 'S3 does not accept the secret access key.',
    InvalidAccessKeyId: 'S3 does not know the access key.'
  }
  return new AppError('S3_REFUSED', { message: messages[cause.code] ?? `S3 refused a request: ${cause.code}.`, cause })
}
