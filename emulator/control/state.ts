import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { StartProblem } from '../../lib/start-problem.js'
import { writeFileAtomic } from '../lib/write-file-atomic.js'

export interface SecretRecord {
  id: string
  name: string
  environment: string
  /** Seconds since the epoch. */
  createdAt: number
  values: Record<string, string>
}

interface AppRecord { id: string, name: string, environment: string }

export interface VolumeRecord {
  id: string
  /** Absent when ephemeral: kept while heartbeats arrive. */
  name?: string
  environment: string
  version: 1 | 2
  /** Seconds since the epoch. */
  createdAt: number
}

export interface QueuePartition {
  /** In base64, the oldest first. */
  items: string[]
  /** How many are gone from in front of them. */
  taken: number
  /** In milliseconds since the epoch. */
  expiresAt: number
}

export interface QueueRecord {
  id: string
  name: string
  environment: string
  /** By partition key in hex. */
  partitions: Record<string, QueuePartition>
}

/** What survives a restart. Sandboxes do not: they end with the server. */
interface Records {
  environments: string[]
  apps: AppRecord[]
  volumes: VolumeRecord[]
  queues: QueueRecord[]
  /** Those that were made by a client. */
  secrets: SecretRecord[]
  /** Name to id of the secrets in the configuration, which alone has their values. */
  secretIds: Record<string, string>
  /** Id of a forced build to the id that the image store gave it. */
  imageAliases: Record<string, string>
  deletedImages: string[]
  /** `environment/name:tag` to image id. */
  imageTags: Record<string, string>
}

/** The emulator's records: one small JSON file, replaced atomically. */
export class State {
  readonly records: Records
  readonly #file: string
  #saving: Promise<void> = Promise.resolve()

  private constructor (file: string, records: Records) {
    this.#file = file
    this.records = records
  }

  static async open (dataDir: string): Promise<State> {
    const file = join(dataDir, 'state.json')
    await mkdir(dataDir, { recursive: true })
    try {
      return new State(file, { ...empty(), ...JSON.parse(await readFile(file, 'utf8')) as Partial<Records> })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new State(file, empty())
      throw new StartProblem(`reading the emulator's state (${file}) failed: repair or remove the file.`, { cause: error })
    }
  }

  /** Resolves when the records, as they are now, are on disk. */
  save (): Promise<void> {
    const write = () => writeFileAtomic(this.#file, JSON.stringify(this.records, null, 1), 0o600)
    this.#saving = this.#saving.then(write, write)
    return this.#saving
  }
}

function empty (): Records {
  return {
    environments: ['main'],
    apps: [],
    volumes: [],
    queues: [],
    secrets: [],
    secretIds: {},
    imageAliases: {},
    deletedImages: [],
    imageTags: {}
  }
}
