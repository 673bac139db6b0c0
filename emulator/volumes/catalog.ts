import { checkName } from '../control/environments.js'
import { objectId } from '../control/ids.js'
import type { State, VolumeRecord } from '../control/state.js'
import { alreadyExists, invalid, notFound } from '../control/status.js'
import type { VolumeStore } from './store.js'

/** The SDK sends a heartbeat every 5 minutes; an ephemeral volume is deleted after three missed ones. */
const ephemeralLifeMs = 15 * 60_000
const collectEveryMs = 60_000

interface VolumeRequest {
  name: string
  environment: string
  createIfMissing: boolean
  failIfExists?: boolean
  /** 0: any version; a new volume gets 1. */
  version: number
}

/** Settles once no running sandbox mounts the volume. */
type Released = (volumeId: string) => Promise<unknown>

/** Names, versions and lifetimes of volumes. Their data is kept by the {@link VolumeStore}. */
export class VolumeCatalog {
  readonly #state: State
  readonly #store: VolumeStore
  readonly #released: Released
  readonly #heartbeats = new Map<string, number>()
  /** Volumes whose directory is being made; requests for them wait. */
  readonly #creating = new Map<string, Promise<void>>()
  readonly #collector: NodeJS.Timeout

  constructor (state: State, store: VolumeStore, released: Released) {
    this.#state = state
    this.#store = store
    this.#released = released
    this.#collector = setInterval(() => this.#collect(), collectEveryMs)
    this.#collector.unref()
    for (const volume of state.records.volumes) this.#heartbeats.set(volume.id, Date.now())
  }

  /** @throws {StatusError} NOT_FOUND, ALREADY_EXISTS, INVALID_ARGUMENT */
  async named (request: VolumeRequest): Promise<VolumeRecord> {
    const { name, environment } = request
    const version = checkVersion(request.version)
    const known = this.#byName(name, environment)
    if (known && request.failIfExists) throw alreadyExists(`Volume '${name}' already exists`)
    if (known) {
      await this.#creating.get(known.id)
      return known
    }
    if (!request.createIfMissing) throw notFound(`Volume '${name}' not found`)
    return this.#create({ name: checkName(name, 'Volume'), environment, version })
  }

  /** A volume that is deleted when its heartbeats stop. */
  ephemeral (environment: string, version = 1): Promise<VolumeRecord> {
    return this.#create({ environment, version: checkVersion(version) })
  }

  /** @throws {StatusError} NOT_FOUND, ALREADY_EXISTS, INVALID_ARGUMENT */
  async rename (id: string, name: string): Promise<void> {
    const volume = this.byId(id)
    if (volume.name === undefined) throw invalid(`Volume ${id} is ephemeral and has no name`)
    const holder = this.#byName(checkName(name, 'Volume'), volume.environment)
    if (holder !== undefined && holder !== volume) throw alreadyExists(`Volume '${name}' already exists`)
    volume.name = name
    await this.#state.save()
  }

  /** @throws {StatusError} NOT_FOUND */
  byId (id: string): VolumeRecord {
    const volume = this.#records.find((volume) => volume.id === id)
    if (volume) return volume
    throw notFound(`Volume with ID ${id} not found`)
  }

  /** The named ones, newest first. */
  list (environment: string): VolumeRecord[] {
    return this.#records.filter((volume) => volume.name !== undefined && volume.environment === environment)
      .toSorted((one, other) => other.createdAt - one.createdAt)
  }

  heartbeat (id: string): void {
    this.#heartbeats.set(this.byId(id).id, Date.now())
  }

  /** Forgets the volume at once; its data is removed when the last sandbox that mounts it has ended. */
  async delete (id: string): Promise<void> {
    const volume = this.byId(id)
    this.#state.records.volumes = this.#records.filter((other) => other !== volume)
    this.#heartbeats.delete(id)
    await this.#state.save()
    this.#released(id).then(() => this.#store.delete(id)).catch(() => {})
  }

  close (): void {
    clearInterval(this.#collector)
  }

  get #records (): VolumeRecord[] { return this.#state.records.volumes }

  #byName (name: string, environment: string): VolumeRecord | undefined {
    return this.#records.find((volume) => volume.name === name && volume.environment === environment)
  }

  async #create (properties: Omit<VolumeRecord, 'id' | 'createdAt'>): Promise<VolumeRecord> {
    const volume: VolumeRecord = { id: objectId('vo'), createdAt: Date.now() / 1000, ...properties }
    this.#records.push(volume)
    this.#heartbeats.set(volume.id, Date.now())
    const creating = this.#store.create(volume.id).then(() => this.#state.save())
    this.#creating.set(volume.id, creating)
    try {
      await creating
      return volume
    } catch (error) {
      this.#state.records.volumes = this.#records.filter((other) => other !== volume)
      throw error
    } finally {
      this.#creating.delete(volume.id)
    }
  }

  #collect (): void {
    const silent = ({ id, name }: VolumeRecord) =>
      name === undefined && Date.now() - (this.#heartbeats.get(id) ?? 0) > ephemeralLifeMs
    for (const volume of this.#records.filter(silent)) this.delete(volume.id).catch(() => {})
  }
}

/** @throws {StatusError} INVALID_ARGUMENT */
function checkVersion (version: number): 1 | 2 {
  if (![0, 1, 2].includes(version)) throw invalid(`Volume version must be 1 or 2, got ${version}`)
  return version === 2 ? 2 : 1
}
