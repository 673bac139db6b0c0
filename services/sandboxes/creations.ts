import type { ModalClient, Queue } from 'modal'
import { AppError, wrap } from '../../errors.js'
import { randomId } from '../../lib/ids.js'
import type { Log } from '../../lib/log.js'
import type { Account } from '../../schemas/account.js'
import type { Creation } from '../../schemas/creation.js'
import type { CreatedSandbox, CreationStep } from '../../schemas/sandbox.js'
import { callModal, lookupMs } from '../modal/call.js'
import { unlessMissing } from '../modal/errors.js'
import { creationsName } from '../modal/names.js'

/** An item of a creation's partition: its state then; docs/creation-format.md. */
type Entry = Omit<Creation, 'id'> & { at: string }

/** Starts the work. */
type Create = (onStep: (event: CreationStep) => void) => Promise<Pick<CreatedSandbox, 'id' | 'warnings'>>

/** Once one of these is done, what is left is the work itself, which may take half an hour. */
const admittingSteps = ['limits', 'adopt']
const beatMs = 30_000
/** Without an entry for so long its replica has stopped: it missed three. */
const deadMs = 4 * beatMs
const keptMs = 24 * 60 * 60 * 1000
const remembered = 1000

/**
 * Sandboxes that are created while nobody waits. How far each is stands in a queue of its account at Modal, so that
 * every replica can tell.
 */
export class Creations {
  readonly #client: ModalClient
  /** Those of this replica, by account and id. */
  readonly #own = new Map<string, OwnCreation>()

  constructor (client: ModalClient) {
    this.#client = client
  }

  /**
   * Returns once the account's limits allow the sandbox, and it only has to be made.
   * @throws {AppError} what `create` throws before that; MODAL_* when the creation cannot be recorded.
   */
  async start (account: Account, create: Create, log: Log): Promise<Creation> {
    const queue = await callModal('creation', lookupMs, () =>
      this.#client.queues.fromName(creationsName(account.id), { createIfMissing: true }))
    const creation = new OwnCreation(queue, log)
    await creation.recorded

    let admit = () => {}
    const admitted = new Promise<void>((resolve) => { admit = resolve })
    const working = create(({ step, status }) => {
      if (status === 'started') creation.record({ step })
      if (status === 'done' && admittingSteps.includes(step)) admit()
    }).then(({ id: sandboxId, warnings = [] }) => creation.record({ status: 'created', sandboxId, warnings }), (cause: unknown) => {
      const error = cause instanceof AppError ? cause : wrap(cause, 'create')
      creation.record({ status: 'failed', error: viewOf(error) })
      throw error
    })
    await Promise.race([working, admitted])
    const { id } = creation.view
    working.catch((err: AppError) => log.warn({ creationId: id, code: err.code, step: err.step, err }, 'sandbox not created'))
    this.#own.set(`${account.id}/${id}`, creation)
    if (this.#own.size > remembered) this.#own.delete(this.#own.keys().next().value!)
    return { ...creation.view }
  }

  /** The service stops: what is not finished is undone by the clean-up of the deployment. */
  async close (): Promise<void> {
    const error = viewOf(new AppError('CREATE_INTERRUPTED'))
    const open = [...this.#own.values()].filter(({ view }) => view.status === 'creating')
    for (const creation of open) creation.record({ status: 'failed', error })
    await Promise.all(open.map((creation) => creation.recorded))
  }

  /** @throws {AppError} CREATION_NOT_FOUND for one that is unknown, another account's, or older than a day. */
  async get (account: Account, id: string): Promise<Creation> {
    if (!/^create_[a-z0-9]{20}$/.test(id)) throw new AppError('CREATION_NOT_FOUND')
    const own = this.#own.get(`${account.id}/${id}`)
    if (own !== undefined) return { ...own.view }
    const entry = await this.#latest(account, id)
    if (entry === undefined) throw new AppError('CREATION_NOT_FOUND')
    const { at, ...known } = entry
    if (known.status !== 'creating' || Date.now() - Date.parse(at) < deadMs) return { id, ...known }
    return { id, ...known, status: 'failed', error: viewOf(new AppError('CREATE_INTERRUPTED')) }
  }

  async #latest (account: Account, id: string): Promise<Entry | undefined> {
    return await callModal('creation', lookupMs, async () => {
      const queue = await unlessMissing(this.#client.queues.fromName(creationsName(account.id)))
      let latest: Entry | undefined
      if (queue !== undefined) for await (const item of queue.iterate({ partition: id })) latest = JSON.parse(item)
      return latest
    })
  }
}

/** One of this replica. It is written down at each step and every now and then, until its end is. */
class OwnCreation {
  readonly view: Creation = {
    id: randomId('create'),
    status: 'creating',
    startedAt: new Date().toISOString(),
    step: null,
    sandboxId: null,
    warnings: [],
    error: null
  }

  /** Settles when all that was recorded so far is at Modal. */
  recorded: Promise<void>
  readonly #queue: Queue
  readonly #log: Log
  readonly #beat: NodeJS.Timeout

  constructor (queue: Queue, log: Log) {
    this.#queue = queue
    this.#log = log
    this.recorded = this.#append()
    const lastBeat = Date.now() + keptMs
    this.#beat = setInterval(() => {
      if (Date.now() > lastBeat) clearInterval(this.#beat)
      else this.record({})
    }, beatMs).unref()
    this.recorded.catch(() => clearInterval(this.#beat))
  }

  /** Its end is final. */
  record (change: Partial<Creation>): void {
    if (this.view.status === 'creating') Object.assign(this.view, change)
    this.recorded = this.recorded.then(() => this.#append()).catch((err: unknown) => {
      this.#log.warn({ creationId: this.view.id, err }, 'creation not recorded yet')
    })
  }

  async #append (): Promise<void> {
    const { id: partition, ...state } = this.view
    const item = JSON.stringify({ ...state, at: new Date().toISOString() } satisfies Entry)
    const options = { partition, partitionTtlMs: keptMs, timeoutMs: lookupMs }
    await callModal('creation', lookupMs, () => this.#queue.put(item, options))
    if (state.status !== 'creating') clearInterval(this.#beat)
  }
}

function viewOf ({ statusCode, code, message, hint, step, details }: AppError): Creation['error'] {
  return { statusCode, code, message, hint, ...(step !== undefined && { step }), ...details }
}
