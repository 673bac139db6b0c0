import type { ModalClient } from 'modal'
import { AppError } from '../../errors.js'
import type { Log } from '../../lib/log.js'
import type { Account } from '../../schemas/account.js'
import type { ExecSpec } from '../../schemas/exec.js'
import type { ComputePrices } from '../../schemas/compute-prices.js'
import type { Creation } from '../../schemas/creation.js'
import type { CreatedSandbox, ListQuery, SandboxDetails, SandboxPage, SandboxSpec, SandboxView, Termination } from '../../schemas/sandbox.js'
import { volumeNamePattern } from '../../schemas/common.js'
import type { SyncReport } from '../../schemas/sync.js'
import type { ReloadedVolume, VolumeView } from '../../schemas/volume.js'
import { callModal, withDeadline, lookupMs } from '../modal/call.js'
import { endingOf, sandboxEnded, type Ending } from '../modal/ending.js'
import { Creator, type CreateOptions, type CreatorOptions, type Deadlines } from './create.js'
import { Creations } from './creations.js'
import { startExec, type Exec } from './exec.js'
import { followSandbox, type FollowOptions } from './follow.js'
import type { ImageSettings } from './images.js'
import { listSandboxes, ownedRunning } from './list.js'
import { Neighbours, volumeInUse } from './neighbours.js'
import { OwnedSandboxes, type OwnedSandbox } from './owned.js'
import type { Timeouts } from './resources.js'
import { checkStorage } from './storage.js'
import { terminateSandbox, type Stopping, type TerminateOptions } from './terminate.js'
import { statusOf, viewOf } from './view.js'
import { Volumes } from './volumes.js'

interface SandboxServiceOptions {
  client: ModalClient
  log: Log
  image: ImageSettings
  timeouts: Timeouts
  /** Part of every sandbox's tags: a deployment only cleans up after itself. */
  deployment: string
  deadlines?: Deadlines
  replacement?: CreatorOptions['replacement']
  modelHost?: CreatorOptions['modelHost']
  /** Keeps workspaces in S3; without it nothing is synced. */
  storage?: WorkspaceStorage
  /** Without them it is not said what a sandbox costs. */
  computePrices?: ComputePrices | undefined
}

/** When the workspaces of sandboxes with S3 storage are synced. */
export interface WorkspaceStorage {
  initialize (owned: OwnedSandbox, log: Log): Promise<SyncReport>
  beforeTerminate (owned: OwnedSandbox, log: Log): Promise<SyncReport>
  watch (owned: OwnedSandbox): void
  forget (id: string): void
  /** A sandbox was not ended, as its workspace is not stored: to be tried again. */
  retry (owned: OwnedSandbox): void
}

export interface EndOptions extends Pick<TerminateOptions, 'force'> {
  /** Ends what runs in the sandbox, before it is ended itself. */
  stop?: (owned: OwnedSandbox) => Stopping
  log?: Log
  /** Whether to store the workspace first; by default as the sandbox was created. */
  sync?: boolean | undefined
}

/** Less than the time that the process has to close in. */
const closeMs = 5000

/** Creates, finds and ends the accounts' sandboxes. It keeps nothing but handles: the truth is at Modal. */
export class SandboxService {
  readonly #client: ModalClient
  readonly #log: Log
  readonly #owned: OwnedSandboxes
  readonly #volumes: Volumes
  readonly #neighbours: Neighbours
  readonly #creator: Creator
  readonly #creations: Creations
  readonly #storage: WorkspaceStorage | undefined
  readonly #computePrices: ComputePrices | undefined
  readonly #execs = new Set<Exec>()

  constructor (
    {
      client, log, image, timeouts, deployment, deadlines, storage, replacement, modelHost, computePrices
    }: SandboxServiceOptions
  ) {
    this.#computePrices = computePrices
    this.#client = client
    this.#log = log
    this.#owned = new OwnedSandboxes(client)
    this.#storage = storage
    this.#creations = new Creations(client)
    this.#volumes = new Volumes(client)
    this.#neighbours = new Neighbours(client, this.#owned)
    this.#creator = new Creator({
      client,
      owned: this.#owned,
      image,
      timeouts,
      deployment,
      ...(deadlines !== undefined && { deadlines }),
      replacement,
      modelHost,
      initialize: async (owned, log) => { await storage?.initialize(owned, log) }
    }, this.#volumes, this.#neighbours)
  }

  /** Builds the default image, so that no user waits for it. Never rejects: the first create would build it, too. */
  async buildDefaultImage (): Promise<void> {
    await this.#creator.buildDefaultImage(this.#log).catch((err: unknown) => {
      this.#log.warn({ err }, 'default image not built yet')
    })
  }

  /** Creates a sandbox, or returns the one of the same Idempotency-Key. @throws {AppError} with the failed step. */
  async create (account: Account, spec: SandboxSpec, options: Partial<CreateOptions> = {}): Promise<CreatedSandbox> {
    const { log = this.#log, ...rest } = options
    const { owned, isNew, warnings } = await this.#creator.create(account, spec, { ...rest, log })
    this.#storage?.watch(owned)
    const view = this.#view(owned, isNew ? null : await knownEnding(owned))
    return { ...view, ...(warnings.length > 0 && { warnings }) }
  }

  /** Creates a sandbox while nobody waits. @throws {AppError} what policy and limits refuse. */
  async startCreation (account: Account, spec: SandboxSpec, options: Partial<CreateOptions> = {}): Promise<Creation> {
    const { log = this.#log } = options
    const create = async (onStep: CreateOptions['onStep']) => await this.create(account, spec, { ...options, onStep })
    return await this.#creations.start(account, create, log)
  }

  /** @throws {AppError} CREATION_NOT_FOUND. */
  async creation (account: Account, id: string): Promise<Creation> {
    return await this.#creations.get(account, id)
  }

  /** One page of the running ones, newest first. */
  async list (account: Account, query: ListQuery): Promise<SandboxPage> {
    return await listSandboxes(this.#client, this.#owned, account, query, this.#computePrices)
  }

  /** State and metadata (5.7, 6.5). @throws {AppError} SANDBOX_NOT_FOUND. */
  async get (account: Account, id: string): Promise<SandboxView> {
    const owned = await this.#owned.find(account, id)
    return this.#view(owned, await knownEnding(owned))
  }

  #view (owned: OwnedSandbox, ending: Ending | null): SandboxView {
    return viewOf(owned, ending, this.#computePrices)
  }

  /** The account's sandbox, running or not. @throws {AppError} SANDBOX_NOT_FOUND. */
  async find (account: Account, id: string): Promise<OwnedSandbox> {
    return await this.#owned.find(account, id)
  }

  /** What becomes of a sandbox, until it has ended. @throws {AppError} as `look` does. */
  follow (owned: OwnedSandbox, options: FollowOptions): AsyncGenerator<SandboxDetails> {
    return followSandbox(owned, options)
  }

  /** A sandbox to work in. @throws {AppError} SANDBOX_NOT_FOUND, SANDBOX_ENDED. */
  async open (account: Account, id: string): Promise<OwnedSandbox> {
    const owned = await this.#owned.find(account, id)
    await requireRunning(owned)
    this.noteUse(owned)
    return owned
  }

  /** Something was started in a sandbox: it runs, and is not idle. */
  noteUse (owned: OwnedSandbox): void {
    this.#storage?.watch(owned)
  }

  /**
   * A sandbox whose workspace is kept in S3, in a place that the account may still use.
   * @throws {AppError} as {@link open}; NO_STORAGE, FORBIDDEN.
   */
  async openStored (account: Account, id: string): Promise<OwnedSandbox> {
    const owned = await this.open(account, id)
    if (owned.s3 === undefined) throw new AppError('NO_STORAGE')
    checkStorage(account, owned.s3)
    return owned
  }

  /** Starts a command in a sandbox. @throws {AppError} as {@link find} and {@link startExec}. */
  async exec (account: Account, id: string, spec: ExecSpec, log: Log = this.#log): Promise<Exec> {
    return await this.execIn(account, await this.find(account, id), spec, log)
  }

  /** The same in a sandbox that was found, whether or not it runs. */
  async execIn (account: Account, owned: OwnedSandbox, spec: ExecSpec, log: Log = this.#log): Promise<Exec> {
    const exec = await startExec(this.#client, account, owned, spec, log, this.#execs)
    this.noteUse(owned)
    return exec
  }

  /** Ends a sandbox and what runs in it; no error when it has ended already. @throws {AppError} with its steps. */
  async terminate (account: Account, id: string, options: EndOptions = {}): Promise<Termination> {
    const owned = await this.#owned.find(account, id)
    const { log = this.#log, sync = owned.s3?.syncOnTerminate ?? false, stop, ...rest } = options
    // Not after Modal was asked whether it runs, which would be a round trip more.
    const stopping = stop?.(owned)
    for (const work of [stopping?.runs, stopping?.all]) work?.catch(() => {})
    const ending = await knownEnding(owned)
    const storage = this.#storage
    storage?.forget(id)
    if (ending === null) {
      const stores = sync && storage !== undefined
      try {
        return await terminateSandbox(owned, {
          ...rest,
          log,
          ...(stopping !== undefined && { stopping }),
          ...(stores && { store: () => storage.beforeTerminate(owned, log) })
        })
      } catch (error) {
        if (stores) storage.retry(owned)
        throw error
      }
    }
    const released = { sandbox: false, keptVolume: owned.volume ?? null }
    return { id, status: statusOf(ending), ...ending, steps: [], released }
  }

  /** The account's volumes, newest first, with the running sandboxes that mount them. */
  async volumes (account: Account): Promise<VolumeView[]> {
    const [volumes, running] = await Promise.all([
      callModal('volumes', 2 * lookupMs, () => this.#volumes.list(account)), this.#running(account)
    ])
    return volumes.map((volume) => ({
      ...volume, sandboxes: running.filter((owned) => owned.volume === volume.name).map(({ id }) => id)
    }))
  }

  /** Deletes a volume with its files. @throws {AppError} VOLUME_NOT_FOUND, VOLUME_IN_USE while one mounts it. */
  async deleteVolume (account: Account, name: string, log: Log = this.#log): Promise<void> {
    if (!new RegExp(volumeNamePattern).test(name)) throw new AppError('VOLUME_NOT_FOUND')
    const users = (await this.#running(account, { volume: name })).filter((owned) => owned.volume === name)
    if (users.length > 0) throw volumeInUse(name, users)
    await this.#volumes.delete(account, name)
    log.info({ accountId: account.id, volume: name }, 'volume deleted')
  }

  /** Shows what other sandboxes have stored on the volume. @throws {AppError} NO_VOLUME, VOLUME_BUSY. */
  async reloadVolume (owned: OwnedSandbox): Promise<ReloadedVolume> {
    const { volume, mountPath, sandbox } = owned
    if (volume === undefined) throw new AppError('NO_VOLUME')
    await callModal('reload', 2 * lookupMs, () => sandbox.reloadVolumes(), { notFound: 'SANDBOX_ENDED', conflict: 'VOLUME_BUSY' })
    return { name: volume, mountPath: mountPath!, reloadedAt: new Date().toISOString() }
  }

  async #running (account: Account, wanted: { volume?: string } = {}): Promise<OwnedSandbox[]> {
    return await ownedRunning(this.#client, this.#owned, account, wanted)
  }

  /** Ends the commands of this service before it stops, and says so of creations: nothing could watch them then. */
  async close (): Promise<void> {
    await withDeadline(closeMs, () => Promise.all([
      this.#creations.close(), ...[...this.#execs].map((exec) => exec.kill('shutdown'))
    ])).catch(() => {})
  }
}

/** @throws {AppError} SANDBOX_ENDED. */
async function requireRunning (owned: OwnedSandbox): Promise<void> {
  const ending = await knownEnding(owned)
  if (ending !== null) throw sandboxEnded(ending)
}

/** Null while it runs. @throws {AppError} SANDBOX_NOT_FOUND when Modal does not know it any more. */
async function knownEnding ({ sandbox }: OwnedSandbox): Promise<Ending | null> {
  return await endingOf(sandbox, { notFound: 'SANDBOX_NOT_FOUND', invalid: 'SANDBOX_NOT_FOUND' })
}
