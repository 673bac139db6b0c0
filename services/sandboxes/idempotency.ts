import type { App, ModalClient, Sandbox } from 'modal'
import { AppError } from '../../errors.js'
import type { Account } from '../../schemas/account.js'
import { callModal, lookupMs } from '../modal/call.js'
import { mayHaveHappened, unlessMissing } from '../modal/errors.js'
import { listRunning } from '../modal/lists.js'
import { appName } from '../modal/names.js'
import type { OwnedSandbox, OwnedSandboxes } from './owned.js'
import { keyName, type Plan } from './plan.js'
import { searchTags } from './tags.js'

/** Finds the sandbox that an earlier attempt of a create request has made, so that it is not created twice. */
export class IdempotentSandboxes {
  readonly #client: ModalClient
  readonly #owned: OwnedSandboxes

  constructor (client: ModalClient, owned: OwnedSandboxes) {
    this.#client = client
    this.#owned = owned
  }

  /**
   * The sandbox, running or ended, of a request with the same Idempotency-Key. It is found by its name or, while it
   * runs, by its tag, as the client may have named it.
   * @throws {AppError} IDEMPOTENCY_KEY_REUSED when that request was a different one.
   */
  async byKey (account: Account, { record, modalName }: Plan, app: App): Promise<OwnedSandbox | undefined> {
    const { key, fingerprint } = record
    const names = [...new Set([keyName(key!), modalName])]
    const handles = await Promise.all([
      ...names.map((name) => this.#named(account, name, true)),
      this.#tagged(app, searchTags({ key: key! }))
    ])
    for (const handle of handles) {
      const found = handle && await this.#owned.verify(account, handle)
      if (found?.key !== key) continue
      if (found!.fingerprint !== fingerprint) throw new AppError('IDEMPOTENCY_KEY_REUSED')
      return found
    }
  }

  /**
   * After a failed create: the sandbox that was created all the same, when only the answer was lost, or the one that
   * has its name.
   * @throws {AppError} the failure itself, SANDBOX_NAME_TAKEN or IDEMPOTENCY_KEY_REUSED.
   */
  async afterFailure (account: Account, { record, modalName }: Plan, failure: AppError): Promise<OwnedSandbox> {
    if (failure.code !== 'SANDBOX_NAME_TAKEN' && !mayHaveHappened(failure)) throw failure
    // A failure of these lookups adds nothing: the client is told the first one.
    const handle = await this.#named(account, modalName, false).catch(() => undefined)
    const found = handle && await this.#owned.verify(account, handle).catch(() => undefined)
    if (found === undefined) throw failure
    if (found.request === record.request) return found
    if (record.key === undefined || found.key !== record.key) throw failure
    if (found.fingerprint !== record.fingerprint) throw new AppError('IDEMPOTENCY_KEY_REUSED', { cause: failure })
    return found
  }

  async #named (account: Account, name: string, includeTerminated: boolean): Promise<Sandbox | undefined> {
    const find = () => this.#client.sandboxes.fromName(appName(account.id), name, { includeTerminated })
    return await callModal('find by name', lookupMs, () => unlessMissing(find()))
  }

  async #tagged ({ appId }: App, tags: Record<string, string>): Promise<Sandbox | undefined> {
    return await callModal('find by key', lookupMs, async () => {
      const running = listRunning(this.#client, { appId, tags })
      const { value: first } = await running.next()
      await running.return(undefined)
      return first?.sandbox
    })
  }
}
