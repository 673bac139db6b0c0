import type { App, ModalClient } from 'modal'
import { AppError } from '../../errors.js'
import type { Account } from '../../schemas/account.js'
import type { Warning } from '../../schemas/sandbox.js'
import { listRunning } from '../modal/lists.js'
import type { OwnedSandbox, OwnedSandboxes } from './owned.js'
import { isWithin } from './paths.js'
import { searchTags, type SandboxRecord } from './tags.js'

/** A sandbox that is looked for neighbours of; it has no id before it is created. */
type Subject = Pick<SandboxRecord, 'volume' | 'mount' | 'place' | 'key'> & { id?: string }

/** Finds an account's running sandboxes that have the files of another one, too: on its volume, or its prefix in S3. */
export class Neighbours {
  readonly #client: ModalClient
  readonly #owned: OwnedSandboxes

  constructor (client: ModalClient, owned: OwnedSandboxes) {
    this.#client = client
    this.#owned = owned
  }

  /**
   * What the account is to know of a sandbox's neighbours.
   * @throws {AppError} VOLUME_IN_USE when it, or one of those on the volume, is to be the only one.
   */
  async check (account: Account, app: App, subject: Subject): Promise<Warning[]> {
    const { volume, mount, place } = subject
    const [onVolume, onPlace] = await Promise.all([
      volume === undefined ? [] : this.#tagged(account, app, { volume }),
      place === undefined ? [] : this.#tagged(account, app, { place })
    ])
    const sharing = onVolume.filter((other) => isOther(subject, other) && overlaps(subject, other))
    const refusing = sharing.filter((other) => mount?.exclusive === true || other.mount?.exclusive === true)
    if (refusing.length > 0) throw volumeInUse(volume!, refusing)
    const writing = sharing.filter((other) => mount?.readOnly !== true || other.mount?.readOnly !== true)
    const syncing = onPlace.filter((other) => isOther(subject, other))
    const warnings: Warning[] = []
    if (writing.length > 0) {
      warnings.push(warning('VOLUME_SHARED', writing, `the volume ${volume!}, too: the others see changes only when ` +
        'they reload it, and if several change the same file, the last version stored wins'))
    }
    if (syncing.length > 0) {
      warnings.push(warning('PREFIX_SHARED', syncing, 'the same place in S3, too: if several change the same file, ' +
        'each version is kept, the later ones as <name>.conflict-<sandbox>-<time>'))
    }
    return warnings
  }

  /** One that ends meanwhile is no neighbour. */
  async #tagged (account: Account, { appId }: App, record: Partial<SandboxRecord>): Promise<OwnedSandbox[]> {
    const found: Array<Promise<OwnedSandbox | undefined>> = []
    for await (const { sandbox, tags } of listRunning(this.#client, { appId, tags: searchTags(record) })) {
      const verified = this.#owned.verify(account, sandbox, tags).catch((error: AppError) => {
        if (error.code !== 'SANDBOX_NOT_FOUND') throw error
        return undefined
      })
      verified.catch(() => {})
      found.push(verified)
    }
    return (await Promise.all(found)).filter((one) => one !== undefined)
  }
}

/** @returns the refusal that names them. */
export function volumeInUse (volume: string, sandboxes: Array<{ id: string, name?: string }>): AppError {
  return new AppError('VOLUME_IN_USE', {
    message: `The volume ${volume} is in use by ${sandboxes.map(nameOf).join(', ')}.`,
    details: { sandboxes: sandboxes.map(({ id }) => id) }
  })
}

/** An attempt of the same request is not another sandbox. */
function isOther ({ id, key }: Subject, other: OwnedSandbox): boolean {
  return other.id !== id && (key === undefined || other.key !== key)
}

function overlaps (one: Subject, other: Subject): boolean {
  const [path, otherPath] = [one, other].map(({ mount }) => `/${mount?.subPath ?? ''}`) as [string, string]
  return isWithin(path, otherPath) || isWithin(otherPath, path)
}

function warning (code: Warning['code'], others: OwnedSandbox[], text: string): Warning {
  const message = `${others.map(nameOf).join(', ')} ${others.length > 1 ? 'use' : 'uses'} ${text}.`
  return { code, message, sandboxes: others.map(({ id }) => id) }
}

const nameOf = ({ id, name }: { id: string, name?: string }) => name === undefined ? id : `${name} (${id})`
