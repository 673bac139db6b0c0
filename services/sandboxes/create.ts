import type { App, ExperimentalOutboundPolicy, Image, ModalClient, Secret } from 'modal'
import { AppError, wrap } from '../../errors.js'
import { digest } from '../../lib/ids.js'
import type { Log } from '../../lib/log.js'
import type { Account } from '../../schemas/account.js'
import type { CreationStep, SandboxSpec, Warning } from '../../schemas/sandbox.js'
import { callModal, lookupMs } from '../modal/call.js'
import { serviceAppName } from '../modal/names.js'
import { withBuildLog } from './build-log.js'
import { IdempotentSandboxes } from './idempotency.js'
import { describeImage, imageRecipe, type ImageSettings } from './images.js'
import { endLeftover } from './leftovers.js'
import { Reservations, type Reservation } from './limits.js'
import { lookUp, lookUpApp, type Lookups } from './lookups.js'
import { Neighbours } from './neighbours.js'
import type { OwnedSandbox, OwnedSandboxes } from './owned.js'
import { planSandbox, type Plan } from './plan.js'
import type { Timeouts } from './resources.js'
import { cloneMs, cloneRepository } from './repository.js'
import { Steps } from './steps.js'
import { encodeTags, type SandboxRecord } from './tags.js'
import { Volumes } from './volumes.js'
import { makeWorkdir } from './workdir.js'

export interface CreateOptions {
  idempotencyKey?: string
  /** Carries the request's ids. */
  log: Log
  onStep?: (event: CreationStep) => void
  /** Text of the image build, as it arrives. */
  onBuildLog?: (text: string) => void
}

/** How long to wait for Modal to build an image, and to create a sandbox without and with a GPU; in milliseconds. */
export interface Deadlines { buildMs: number, cpuMs: number, gpuMs: number }

export interface CreatorOptions {
  client: ModalClient
  owned: OwnedSandboxes
  image: ImageSettings
  timeouts: Timeouts
  deployment: string
  deadlines?: Deadlines
  /** Through which Claude reaches the model: allowed where only some domains are. */
  modelHost: string | undefined
  /** Has Modal put the model key into the sandbox's requests to this domain. */
  replacement: { domain: string, policy: () => Promise<ExperimentalOutboundPolicy> } | undefined
  /** Fills the workspace of a new sandbox from S3. */
  initialize: (owned: OwnedSandbox, log: Log) => Promise<unknown>
}

/** What the steps of one request share. */
interface Attempt {
  account: Account
  plan: Plan
  reservation: Reservation
  app: Promise<App>
  lookups: Promise<Lookups>
  steps: Steps
  log: Log
}

/** A sandbox, and whether this request created it: an earlier one may have ended since. */
interface Created { owned: OwnedSandbox, isNew: boolean, warnings: Warning[] }

const minute = 60_000
/** For a GPU the SDK itself waits up to 21 minutes. */
const usualDeadlines: Deadlines = { buildMs: 30 * minute, cpuMs: 2 * minute, gpuMs: 22 * minute }
/** From its start until it is ready; after that the reaper ends it as unfinished. */
const prepareMs = 5 * minute
/** Added to that when its workspace is filled from S3. */
const initializeMs = 60 * minute
/** After a build of this length others may have reached the limit meanwhile. */
const recheckMs = 5000
const rememberedBuilds = 1000

/** Creates sandboxes in named steps. Owner, name and all that finds them again is part of the create call. */
export class Creator {
  readonly #options: CreatorOptions
  readonly #earlier: IdempotentSandboxes
  readonly #reservations = new Reservations()
  readonly #volumes: Volumes
  readonly #neighbours: Neighbours
  /** Digests of recipes whose images exist: asking for one again costs nothing. */
  readonly #built = new Set<string>()

  constructor (
    options: CreatorOptions,
    volumes = new Volumes(options.client),
    neighbours = new Neighbours(options.client, options.owned)
  ) {
    this.#options = options
    this.#earlier = new IdempotentSandboxes(options.client, options.owned)
    this.#volumes = volumes
    this.#neighbours = neighbours
  }

  /** What a failed request had created is undone. @throws {AppError} naming the step that failed (1.6). */
  async create (account: Account, spec: SandboxSpec, options: CreateOptions): Promise<Created> {
    const { client, owned } = this.#options
    const plan = this.#plan(account, spec, options.idempotencyKey)
    const steps = new Steps(options.log, options.onStep ?? (() => {}))
    const reservation = this.#reservations.take(account, placeOf(plan))
    const { volume } = plan.record
    const release = volume === undefined ? () => {} : this.#volumes.hold(account, volume)
    try {
      const app = lookUpApp(client, account, steps)
      const lookups = lookUp(client, this.#volumes, account, plan, steps)
      const attempt: Attempt = { account, plan, reservation, app, lookups, steps, log: options.log }
      // While volume and secrets are looked up, unless there may be a sandbox already.
      const early = plan.record.key === undefined ? this.#build(attempt, options.onBuildLog) : undefined
      early?.catch(() => {})
      const [found, earlier] = await Promise.all([
        lookups,
        plan.record.key === undefined ? undefined : this.#findEarlier(attempt, app),
        app
      ])
      const ready = earlier && await this.#adopt(earlier, attempt)
      if (ready !== undefined) return { ...ready, isNew: false }

      const building = early ?? this.#build(attempt, options.onBuildLog)
      const image = await building.catch(async (error: AppError) => {
        // The request may have been repeated while it was carried out: then its own sandbox has the place.
        if (error.code !== 'LIMIT_REACHED' || plan.record.key === undefined) throw error
        const own = await this.#findEarlier(attempt, app)
        const made = own && await this.#adopt(own, attempt)
        if (made === undefined) throw error
        return { made }
      })
      if ('made' in image) return { ...image.made, isNew: false }
      const sandbox = await this.#start(attempt, await app, image, found)
      if (sandbox.request !== plan.record.request) {
        const adopted = await this.#adopt(sandbox, attempt)
        if (adopted !== undefined) return { ...adopted, isNew: false }
        throw new AppError('MODAL_UNAVAILABLE', { message: 'An earlier attempt of this request was undone meanwhile.' })
      }
      reservation.created(sandbox.id)
      const made = await this.#prepare(sandbox, attempt)
      options.log.info({ sandboxId: made.owned.id, name: plan.modalName, volume }, 'sandbox created')
      return { ...made, owned: owned.cache(made.owned), isNew: true }
    } finally {
      release()
      reservation.release()
    }
  }

  /** Builds the image of sandboxes that name none. @throws {AppError} naming the step that failed. */
  async buildDefaultImage (log: Log): Promise<void> {
    const { client, image, deadlines: { buildMs } = usualDeadlines } = this.#options
    const steps = new Steps(log, () => {})
    const app = await steps.run('app', () => client.apps.fromName(serviceAppName, { createIfMissing: true }), {
      timeoutMs: lookupMs
    })
    const recipe = imageRecipe(undefined, image)
    await steps.run('image', () => describeImage(client, recipe).build(app), {
      timeoutMs: buildMs, ids: ({ imageId }) => ({ imageId })
    })
    this.#built.add(digest(JSON.stringify(recipe)))
  }

  #plan (account: Account, spec: SandboxSpec, idempotencyKey: string | undefined): Plan {
    try {
      const recipe = imageRecipe(spec.image, this.#options.image)
      return planSandbox(account, spec, idempotencyKey, recipe, this.#options.timeouts)
    } catch (cause) {
      throw wrap(cause, 'policy')
    }
  }

  async #findEarlier ({ account, plan, steps }: Attempt, app: Promise<App>) {
    return await steps.run('idempotency', async () => this.#earlier.byKey(account, plan, await app), {
      timeoutMs: 2 * lookupMs
    })
  }

  /** Builds nothing for an account without a free place: the work is paid for even if the request then fails. */
  async #build (attempt: Attempt, onBuildLog = (_text: string) => {}): Promise<Image> {
    const { account, plan, reservation, lookups, steps } = attempt
    const { client, deadlines: { buildMs } = usualDeadlines } = this.#options
    const app = await attempt.app
    const check = () => reservation.check(client, app)
    const build = (registrySecret?: Secret) => withBuildLog(onBuildLog, () => {
      return reservation.holdFor(describeImage(client, plan.recipe, registrySecret).build(app))
    })
    // What is to be alone on its volume is looked for before it is paid for, and all are again once they exist.
    const alone = async () => {
      if (plan.record.mount?.exclusive === true) await this.#neighbours.check(account, app, plan.record)
    }
    const admitted = () => steps.run('limits', () => Promise.all([check(), alone()]), { timeoutMs: lookupMs })
    const built = async () => {
      const secret = plan.recipe.registrySecret === undefined ? undefined : (await lookups).registrySecret
      return await steps.run('image', () => build(secret), { timeoutMs: buildMs, ids: ({ imageId }) => ({ imageId }) })
    }

    const recipe = digest(JSON.stringify(plan.recipe))
    if (this.#built.has(recipe)) return (await Promise.all([built(), admitted()]))[0]
    await Promise.all([admitted(), lookups])
    const started = performance.now()
    const image = await built()
    if (this.#built.size >= rememberedBuilds) this.#built.clear()
    this.#built.add(recipe)
    if (performance.now() - started > recheckMs) await callModal('limits', lookupMs, check)
    return image
  }

  async #start (attempt: Attempt, app: App, image: Image, lookups: Lookups): Promise<OwnedSandbox> {
    const { account, plan, reservation, steps, log } = attempt
    const { client, deployment, deadlines = usualDeadlines } = this.#options
    const { modalName } = plan
    const { modelHost, replacement } = this.#options
    const { outboundCidrAllowlist: ranges, outboundDomainAllowlist: domains } = plan.params
    const isLimited = ranges !== undefined || domains !== undefined
    const now = Date.now()
    const timeoutMs = plan.params.gpu === undefined ? deadlines.cpuMs : deadlines.gpuMs
    const record: SandboxRecord = {
      ...plan.record,
      deployment,
      ...(replacement !== undefined && { modelDomain: replacement.domain }),
      createdAt: new Date(now).toISOString(),
      expiresAt: new Date(now + plan.params.timeoutMs).toISOString(),
      preparing: preparingUntil(plan, timeoutMs)
    }
    const policy = replacement && await steps.run('model secret', () => replacement.policy(), { timeoutMs: lookupMs })
    const params = {
      ...plan.params,
      ...lookups.params,
      ...(isLimited && modelHost !== undefined && { outboundDomainAllowlist: [...domains ?? [], modelHost] }),
      ...(policy !== undefined && { experimentalOutboundPolicy: policy }),
      name: modalName,
      tags: encodeTags(record),
      // A mount point exists from the start; any other directory is made right after.
      ...(record.workdir === record.mountPath && { workdir: record.workdir })
    }
    reservation.creating()
    const starting = steps.run('create', () => reservation.holdFor(client.sandboxes.create(app, image, params)), {
      timeoutMs,
      ids: ({ sandboxId }) => ({ sandboxId }),
      onLate: (sandbox) => {
        const end = () => endLeftover({ sandbox, request: record.request, reason: 'late', log })
        found.then(({ id }) => { if (id !== sandbox.sandboxId) end() }, end)
      }
    })
    const found = starting.then(
      (sandbox) => ({ ...record, id: sandbox.sandboxId, sandbox }),
      (failure: AppError) => this.#earlier.afterFailure(account, plan, failure))
    return await found
  }

  /**
   * Takes over what an earlier attempt of this request has begun, and finishes it. Undefined when that has ended before
   * it was ready.
   */
  async #adopt (earlier: OwnedSandbox, attempt: Attempt): Promise<Omit<Created, 'isNew'> | undefined> {
    const { sandbox } = earlier
    const { account, app, plan, steps } = attempt
    if (earlier.preparing === undefined) {
      const warnings = async () => await this.#neighbours.check(account, await app, earlier)
      return { owned: earlier, warnings: await callModal('neighbours', lookupMs, warnings).catch(() => []) }
    }
    const isRunning = async () => await callModal('poll', lookupMs, () => sandbox.poll()) === null
    if (!await isRunning()) return
    const adopted = { ...earlier, request: plan.record.request, preparing: preparingUntil(plan, 0) }
    await steps.run('adopt', () => sandbox.setTags(encodeTags(adopted)), { timeoutMs: lookupMs })
    const ready = await this.#prepare(adopted, attempt)
    // The attempt before, or the reaper, may have ended it in the moment in which it was adopted.
    if (await isRunning()) return { ...ready, owned: this.#options.owned.cache(ready.owned) }
  }

  /**
   * Makes the working directory and fills it before the sandbox can be used (3.1). When that fails the sandbox is
   * terminated. May be repeated.
   */
  async #prepare (
    owned: OwnedSandbox, { account, plan: { git }, app, lookups, steps, log }: Attempt
  ): Promise<Omit<Created, 'isNew'>> {
    const { preparing, ...ready } = owned
    const { sandbox, request, workdir, mountPath, mount, volume, s3 } = ready
    // Only now: of two that begin at once, the one that looks last sees the other.
    const neighbours = volume === undefined && s3 === undefined
      ? Promise.resolve([])
      : callModal('neighbours', lookupMs, async () => await this.#neighbours.check(account, await app, ready))
    neighbours.catch(() => {})
    try {
      // In a mount point there is nothing to make, but something to prove, unless the sync below does.
      if (workdir !== mountPath || s3?.initialize !== true) {
        await steps.run('workdir', () => makeWorkdir(sandbox, workdir, mount?.readOnly === true), {
          timeoutMs: 2 * minute, notFound: 'INVALID_SANDBOX', conflict: 'INVALID_SANDBOX'
        })
      }
      if (s3?.initialize === true) {
        await neighbours
        await steps.run('initialize', () => this.#options.initialize(ready, log), { timeoutMs: initializeMs })
      }
      if (git !== undefined) {
        const { gitSecret } = await lookups
        await steps.run('clone', () => cloneRepository(sandbox, workdir, git, gitSecret), { timeoutMs: cloneMs })
      }
      const marked = steps.run('ready', () => sandbox.setTags(encodeTags(ready)), { timeoutMs: lookupMs })
      const [warnings] = await Promise.all([neighbours, marked])
      return { owned: ready, warnings }
    } catch (error) {
      const reason = error instanceof AppError && error.step === 'neighbours' ? 'refused' : 'failed'
      await endLeftover({ sandbox, request, reason, log })
      throw error
    }
  }
}

function placeOf ({ modalName, record: { key, fingerprint, request } }: Plan) {
  return { name: modalName, identity: key === undefined ? request : `${key} ${fingerprint}` }
}

/** When a sandbox that is created within `createMs` has to be ready; after that the reaper ends it. */
function preparingUntil ({ record: { s3 }, git }: Plan, createMs: number): string {
  const fillMs = (s3?.initialize === true ? initializeMs : 0) + (git === undefined ? 0 : cloneMs)
  return new Date(Date.now() + createMs + prepareMs + fillMs).toISOString()
}
