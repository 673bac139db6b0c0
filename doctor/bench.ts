import { randomBytes } from 'node:crypto'
import type { App, Image, ModalClient, Sandbox, SandboxCreateParams, Volume } from 'modal'

/** Modal's prices of a sandbox in US dollars, for what is asked for: a core and a GiB of memory, per second. */
const prices = { core: 0.000_039_42, gib: 0.000_006_72 }
/** What a sandbox of the doctor asks for. */
const cpu = 0.25
const memoryMiB = 512
/** When it ends though nobody ends it. */
const lifetimeMs = 15 * 60_000

interface Output { out: string, err: string, code: number }

/** What the facts are asked of: an app, a volume, a sandbox that all share, and others that a fact creates. */
export class Bench {
  readonly client: ModalClient
  readonly app: App
  readonly image: Image
  /** Of the volume, and part of other names. */
  readonly name: string
  readonly volume: Volume
  readonly #creating = new Set<Promise<Sandbox>>()
  /** Those that run, and since when. */
  readonly #sandboxes = new Map<Sandbox, number>()
  #shared: Promise<Sandbox> | undefined
  #isClosed = false
  #spent = 0

  private constructor (client: ModalClient, app: App, image: Image, volume: Volume, name: string) {
    this.client = client
    this.app = app
    this.image = image
    this.volume = volume
    this.name = name
  }

  /** @param registry an image with sh, coreutils and util-linux. */
  static async open (client: ModalClient, registry: string): Promise<Bench> {
    const name = `doctor-${randomBytes(4).toString('hex')}`
    const app = await client.apps.fromName('modal-sandbox-doctor', { createIfMissing: true })
    const volume = await client.volumes.fromName(name, { createIfMissing: true })
    return new Bench(client, app, client.images.fromRegistry(registry), volume, name)
  }

  /** The one that all facts share, with the volume at `/workspace`. */
  box (): Promise<Sandbox> {
    this.#shared ??= this.create({ volumes: { '/workspace': this.volume }, workdir: '/workspace' })
    return this.#shared
  }

  /** @throws {Error} once it is closed: an answer that nobody waits for any more creates nothing. */
  async create (params: SandboxCreateParams = {}, image = this.image): Promise<Sandbox> {
    if (this.#isClosed) throw new Error('stopped')
    const all = { timeoutMs: lifetimeMs, cpu, memoryMiB, ...params }
    const creating = this.client.sandboxes.create(this.app, image, all)
    this.#creating.add(creating)
    try {
      const sandbox = await creating
      this.#sandboxes.set(sandbox, Date.now())
      return sandbox
    } finally {
      this.#creating.delete(creating)
    }
  }

  /** Ends one that was created here, when a fact is done with it. */
  async end (sandbox: Sandbox): Promise<void> {
    await sandbox.terminate({ wait: true })
    this.#count(sandbox)
  }

  /** Runs a shell script, in the shared sandbox unless told otherwise. */
  async sh (script: string, options: { sandbox?: Sandbox, pty?: boolean } = {}): Promise<Output> {
    const { sandbox = await this.box(), pty = false } = options
    const process = await sandbox.exec(['sh', '-c', script], { pty })
    const [out, err, code] = await Promise.all([process.stdout.readText(), process.stderr.readText(), process.wait()])
    return { out, err, code }
  }

  /** An estimate in US dollars, for the sandboxes alone. */
  get costUsd (): number {
    const running = [...this.#sandboxes.values()].reduce((sum, since) => sum + costOf(Date.now() - since), 0)
    return this.#spent + running
  }

  /**
   * Ends all sandboxes, those that are still being created, too, and deletes the volume and the queue; the app stays.
   * @returns what could not be removed, and why
   */
  async close (): Promise<string[]> {
    this.#isClosed = true
    const left: string[] = []
    const remove = async (name: string, removing: Promise<unknown>) => {
      await removing.catch((error: Error) => { left.push(`${name} (${error.message})`) })
    }
    while (this.#creating.size > 0) await Promise.allSettled(this.#creating)
    await Promise.all([...this.#sandboxes.keys()].map((sandbox) => remove(sandbox.sandboxId, this.end(sandbox))))
    await remove(`the volume ${this.name}`, this.client.volumes.delete(this.name, { allowMissing: true }))
    await remove(`the queue ${this.name}`, this.client.queues.delete(this.name, { allowMissing: true }))
    return left
  }

  #count (sandbox: Sandbox) {
    const since = this.#sandboxes.get(sandbox)
    if (since !== undefined) this.#spent += costOf(Date.now() - since)
    this.#sandboxes.delete(sandbox)
  }
}

/** An estimate in US dollars of what a sandbox costs in `ms` milliseconds, by what it has asked for. */
export function costOf (ms: number, asked = { cpu, memoryMiB }): number {
  return ms / 1000 * (asked.cpu * prices.core + asked.memoryMiB / 1024 * prices.gib)
}
