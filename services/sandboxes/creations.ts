import type { ModalClient, Queue } from 'modal'
import { AppError, wrap } from '../../errors.js'
import { randomId } from '../../lib/ids.js'
import type { Log } from '../../lib/log.js'
import type { Account } from '../../schemas/account.js'
import type { Creation } from '../../schemas/creation.js'
import { callModal, lookupMs } from '../modal/call.js'
import { unlessMissing } from '../modal/errors.js'
import { creationsName } from '../modal/names.js'
import type { StepEvent } from './steps.js'

/** An item of a creation's partition; docs/creation-format.md. What an earlier one says holds until another does. */
type Entry = Partial<Omit<Creation, 'id'>> & { at: string }

/** Starts the work. @returns the id of the sandbox. */
type Create = (onStep: (event: StepEvent) => void) => Promise<string>

/** From here on nothing of the request can be refused any more: what follows may take half an hour. */
const admittedStep = 'image'
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
  readonly #own = new Map<string, Creation>()

  constructor (client: ModalClient) {
    this.#client = client
  }

  /**
   * Returns when nothing of the request can be refused any more.
   * @throws {AppError} what `create` throws before that; MODAL_* when the creation cannot be recorded.
   */
  async start (account: Account, create: Create, log: Log): Promise<Creation> {
    const creation: Creation = {
      id: randomId('create'), status: 'creating', startedAt: new Date().toISOString(), step: null, sandboxId: null, error: null
    }
    const { id, ...first } = creation
    const queue = await callModal('creation', lookupMs, () =>
      this.#client.queues.fromName(creationsName(account.id), { createIfMissing: true }))
    await append(queue, id, first)
    let recording = Promise.resolve()
    const record = (entry: Omit<Entry, 'at'>) => {
      Object.assign(creation, entry)
      recording = recording.then(() => append(queue, id, entry)).catch((err: unknown) => {
        log.warn({ creationId: id, err }, 'creation not recorded')
      })
    }
    const beat = setInterval(() => record({}), beatMs).unref()

    let admit = () => {}
    const admitted = new Promise<void>((resolve) => { admit = resolve })
    const working = create(({ step, status }) => {
      if (status !== 'started') return
      record({ step })
      if (step === admittedStep) admit()
    }).then((sandboxId) => record({ status: 'created', sandboxId }), (cause: unknown) => {
      const error = cause instanceof AppError ? cause : wrap(cause, 'create')
      record({ status: 'failed', error: viewOf(error) })
      throw error
    }).finally(() => clearInterval(beat))
    await Promise.race([working, admitted])
    working.catch((err: AppError) => log.warn({ creationId: id, code: err.code, step: err.step, err }, 'sandbox not created'))
    this.#own.set(`${account.id}/${id}`, creation)
    if (this.#own.size > remembered) this.#own.delete(this.#own.keys().next().value!)
    return { ...creation }
  }

  /** @throws {AppError} CREATION_NOT_FOUND for one that is unknown, another account's, or older than a day. */
  async get (account: Account, id: string): Promise<Creation> {
    const own = this.#own.get(`${account.id}/${id}`)
    if (own !== undefined) return { ...own }
    const entries = /^create_[a-z0-9]{20}$/.test(id) ? await this.#read(account, id) : []
    if (entries.length === 0) throw new AppError('CREATION_NOT_FOUND')
    const { at, ...known } = entries.reduce<Entry>((all, entry) => ({ ...all, ...entry }), entries[0]!)
    const creation = { id, ...known } as Creation
    if (creation.status !== 'creating' || Date.now() - Date.parse(at) < deadMs) return creation
    return { ...creation, status: 'failed', error: viewOf(new AppError('CREATE_INTERRUPTED')) }
  }

  async #read (account: Account, id: string): Promise<Entry[]> {
    return await callModal('creation', lookupMs, async () => {
      const queue = await unlessMissing(this.#client.queues.fromName(creationsName(account.id)))
      const entries: Entry[] = []
      if (queue !== undefined) for await (const item of queue.iterate({ partition: id })) entries.push(JSON.parse(item))
      return entries
    })
  }
}

async function append (queue: Queue, partition: string, entry: Omit<Entry, 'at'>): Promise<void> {
  const item = JSON.stringify({ ...entry, at: new Date().toISOString() })
  await callModal('creation', lookupMs, () => queue.put(item, { partition, partitionTtlMs: keptMs, timeoutMs: lookupMs }))
}

function viewOf ({ statusCode, code, message, hint, step }: AppError): Creation['error'] {
  return { statusCode, code, message, hint, ...(step !== undefined && { step }) }
}
