import type { App, ExperimentalOutboundPolicy, Image, ModalClient } from 'modal'
import { wrap, type AppError } from '../../errors.js'
import type { Log } from '../../lib/log.js'
import type { Account } from '../../schemas/account.js'
import type { SandboxSpec } from '../../schemas/sandbox.js'
import { callModal, withDeadline, lookupMs } from '../modal/call.js'
import { withBuildLog } from './build-log.js'
import { IdempotentSandboxes } from './idempotency.js'
import { describeImage, imageRecipe, type ImageSettings } from './images.js'
import { Reservations } from './limits.js'
import { lookUp, lookUpApp, type Lookups } from './lookups.js'
import type { OwnedSandbox, OwnedSandboxes } from './owned.js'
import { planSandbox, type Plan, type Timeouts } from './plan.js'
import { Steps, type StepEvent } from './steps.js'
import { encodeTags, type SandboxRecord } from './tags.js'
import { makeWorkdir } from './workdir.js'

export interface CreateOptions {
  idempotencyKey?: string
  /** Carries the request's ids. */
  log: Log
  onStep?: (event: StepEvent) => void
  /** Text of the image build, as it arrives. */
  onBuildLog?: (text: string) => void
}

export interface CreatorOptions {
  client: ModalClient
  owned: OwnedSandboxes
  image: ImageSettings
  timeouts: Timeouts
  deployment: string
  /** Through which Claude reaches the model: allowed where only some domains are. */
  modelHost: string | undefined
  /** Has Modal put the model key into the sandbox's requests to this domain. */
  replacement: { domain: string, policy: () => Promise<ExperimentalOutboundPolicy> } | undefined
  /** Fills the workspace of a new sandbox from S3. */
  initialize: (owned: OwnedSandbox, log: Log) => Promise<unknown>
}

/** A sandbox, and whether this request created it: an earlier one may have ended since. */
interface Created { owned: OwnedSandbox, isNew: boolean }

const minute = 60_000
const buildMs = 30 * minute
/** For a GPU the SDK itself waits up to 21 minutes. */
const createMs = { cpu: 2 * minute, gpu: 22 * minute }
/** From its start until it is ready; after that the reaper ends it as unfinished. */
const prepareMs = 5 * minute
/** Added to that when its workspace is filled from S3. */
const initializeMs = 60 * minute

/** Creates sandboxes in named steps. Owner, name and all that finds them again is part of the create call. */
export class Creator {
  readonly #options: CreatorOptions
  readonly #earlier: IdempotentSandboxes
  readonly #reservations = new Reservations()

  constructor (options: CreatorOptions) {
    this.#options = options
    this.#earlier = new IdempotentSandboxes(options.client, options.owned)
  }

  /** What a failed request had created is undone. @throws {AppError} naming the step that failed (1.6). */
  async create (account: Account, spec: SandboxSpec, options: CreateOptions): Promise<Created> {
    const { client, owned } = this.#options
    const plan = this.#plan(account, spec, options.idempotencyKey)
    const steps = new Steps(options.log, options.onStep ?? (() => {}))
    const reservation = this.#reservations.take(account)
    try {
      const app = lookUpApp(client, account, steps)
      const [lookups, earlier] = await Promise.all([
        lookUp(client, account, plan, steps),
        plan.record.key === undefined ? undefined : this.#findEarlier(account, plan, app, steps),
        app
      ])
      const ready = earlier && await this.#resume(earlier, steps, options.log)
      if (ready !== undefined) return { owned: ready, isNew: false }

      const [image] = await Promise.all([
        this.#build(await app, plan, lookups, steps, options),
        steps.run('limits', async () => reservation.check(client, await app), { timeoutMs: lookupMs })
      ])
      const sandbox = await this.#start(account, plan, await app, image, lookups, steps)
      const made = await this.#prepare(sandbox, steps, options.log)
      options.log.info({ sandboxId: made.id, name: plan.modalName, volume: made.volume }, 'sandbox created')
      return { owned: owned.cache(made), isNew: true }
    } finally {
      reservation.release()
    }
  }

  #plan (account: Account, spec: SandboxSpec, idempotencyKey: string | undefined): Plan {
    try {
      const recipe = imageRecipe(spec.image, this.#options.image)
      return planSandbox(account, spec, idempotencyKey, recipe, this.#options.timeouts)
    } catch (cause) {
      throw wrap(cause, 'policy')
    }
  }

  async #findEarlier (account: Account, plan: Plan, app: Promise<App>, steps: Steps) {
    return await steps.run('idempotency', async () => this.#earlier.byKey(account, plan, await app), {
      timeoutMs: 2 * lookupMs
    })
  }

  async #build (app: App, plan: Plan, { registrySecret }: Lookups, steps: Steps, { onBuildLog }: CreateOptions) {
    return await steps.run('image', () => withBuildLog(onBuildLog ?? (() => {}), async () => {
      return await describeImage(this.#options.client, plan.recipe, registrySecret).build(app)
    }), { timeoutMs: buildMs, ids: ({ imageId }) => ({ imageId }) })
  }

  async #start (
    account: Account, plan: Plan, app: App, image: Image, lookups: Lookups, steps: Steps
  ): Promise<OwnedSandbox> {
    const { modalName } = plan
    const { modelHost, replacement } = this.#options
    const domains = plan.params.outboundDomainAllowlist
    const now = Date.now()
    const timeoutMs = plan.params.gpu === undefined ? createMs.cpu : createMs.gpu
    // A mount point exists from the start; any other directory is made right after.
    const hasWorkdir = plan.record.workdir === plan.record.mountPath
    const fills = plan.record.s3?.initialize === true
    const preparingMs = timeoutMs + prepareMs + (fills ? initializeMs : 0)
    const record: SandboxRecord = {
      ...plan.record,
      deployment: this.#options.deployment,
      ...(replacement !== undefined && { modelDomain: replacement.domain }),
      createdAt: new Date(now).toISOString(),
      expiresAt: new Date(now + plan.params.timeoutMs).toISOString(),
      ...((!hasWorkdir || fills) && { preparing: new Date(now + preparingMs).toISOString() })
    }
    const policy = replacement && await steps.run('model secret', () => replacement.policy(), { timeoutMs: lookupMs })
    const params = {
      ...plan.params,
      ...lookups.params,
      ...(domains !== undefined && modelHost !== undefined && { outboundDomainAllowlist: [...domains, modelHost] }),
      ...(policy !== undefined && { experimentalOutboundPolicy: policy }),
      name: modalName,
      tags: encodeTags(record),
      ...(hasWorkdir && { workdir: record.workdir })
    }
    try {
      const sandbox = await steps.run('create', () => this.#options.client.sandboxes.create(app, image, params), {
        timeoutMs, ids: ({ sandboxId }) => ({ sandboxId })
      })
      return { ...record, id: sandbox.sandboxId, sandbox }
    } catch (failure) {
      return await this.#earlier.afterFailure(account, plan, failure as AppError)
    }
  }

  /** Finishes what an interrupted request has begun. A sandbox that ended before it was ready does not count. */
  async #resume (earlier: OwnedSandbox, steps: Steps, log: Log): Promise<OwnedSandbox | undefined> {
    if (earlier.preparing === undefined) return earlier
    const exitCode = await callModal('poll', lookupMs, () => earlier.sandbox.poll())
    if (exitCode === null) return this.#options.owned.cache(await this.#prepare(earlier, steps, log))
  }

  /**
   * Makes the working directory and fills it before the sandbox can be used (3.1). When that fails the sandbox is
   * terminated. May be repeated.
   */
  async #prepare (owned: OwnedSandbox, steps: Steps, log: Log): Promise<OwnedSandbox> {
    const { preparing, ...ready } = owned
    if (preparing === undefined) return owned
    const { id, sandbox, workdir, mountPath, s3 } = ready
    try {
      if (workdir !== mountPath) {
        await steps.run('workdir', () => makeWorkdir(sandbox, workdir), {
          timeoutMs: 2 * minute, notFound: 'INVALID_SANDBOX', conflict: 'INVALID_SANDBOX'
        })
      }
      if (s3?.initialize === true) {
        await steps.run('initialize', () => this.#options.initialize(ready, log), { timeoutMs: initializeMs })
      }
      await steps.run('ready', () => sandbox.setTags(encodeTags(ready)), { timeoutMs: lookupMs })
      return ready
    } catch (error) {
      await withDeadline(minute, () => sandbox.terminate({ wait: true })).then(
        () => log.info({ sandboxId: id }, 'sandbox rolled back'),
        (err: unknown) => log.error({ sandboxId: id, err }, 'sandbox could not be rolled back'))
      throw error
    }
  }
}
