import type { Container } from '../container/types.js'
import { notFound } from '../control/status.js'
import type { BuiltImage } from '../images/store.js'
import { type GenericResult, resultStatus, type SandboxDefinition, type SandboxTag, type VolumeMountMessage } from '../proto/messages.js'
import type { SandboxPorts } from '../tunnels/ports.js'
import { Lifetime } from './lifetime.js'
import type { Readiness } from './readiness.js'
import { type EndReason, resultOf } from './result.js'
import type { Inside, Sidecar } from './sidecar.js'
import { type Exec, StdinWriter } from './stdin.js'

/** Modal has two backends; the shape of the id tells the SDK which RPCs to use. */
export type Family = 'V1' | 'V2'

export interface SandboxInfo {
  id: string
  taskId: string
  family: Family
  appId: string
  appName: string
  environment: string
  definition: SandboxDefinition
  /** What it was started from; the image's id may be gone before it. */
  image: BuiltImage
  /** Seconds since the epoch; unique, because lists page by it. */
  createdAt: number
}

/** How a sandbox begins: its container, and then the ways into that. */
interface Opening {
  start: () => Promise<Container>
  open: (container: Container) => Promise<SandboxPorts>
}

/** A container with what Modal adds to it: a name, tags, deadlines, and a result that outlives it. */
export class Sandbox implements Inside {
  readonly info: SandboxInfo
  name: string | undefined
  tags: SandboxTag[]
  /** By exec id, so that a repeated start finds the first one. */
  readonly execs = new Map<string, Promise<Exec>>()
  /** Those that have ended, too. */
  readonly sidecars: Sidecar[] = []
  readonly lifetime: Lifetime
  /** Resolves when the container runs; rejects when it could not be started. */
  readonly started: Promise<Container>
  /** Resolves when the result is known, after the final commit of the volumes. */
  readonly ended: Promise<void>
  result: GenericResult | undefined
  /** Resolves when the ways into it are open; rejects when it could not be started. */
  readonly ports: Promise<SandboxPorts>
  /** Set only with a readiness probe. */
  readiness: Readiness | undefined
  #reason: EndReason | undefined
  #stop: Promise<void> | undefined
  #stdin: StdinWriter | undefined
  #isOver = false
  readonly #idleExitCode: number

  /** @param idleExitCode what an idle time-out ends with: Modal's own is not known */
  constructor (info: SandboxInfo, tags: SandboxTag[], { start, open }: Opening, idleExitCode = 137) {
    const { timeoutSecs, idleTimeoutSecs } = info.definition
    this.info = info
    this.name = info.definition.name || undefined
    this.tags = tags
    this.#idleExitCode = idleExitCode
    this.lifetime = new Lifetime(timeoutSecs, idleTimeoutSecs, (reason) => this.stop(reason))
    this.started = start()
    this.ports = this.started.then(open)
    this.ports.catch(() => {})
    this.ended = this.started.then((container) => this.#watch(container))
    this.ended.catch(() => {})
  }

  get id (): string { return this.info.id }

  get running (): boolean { return this.result === undefined }

  get image (): BuiltImage { return this.info.image }

  get volumeMounts (): VolumeMountMessage[] { return this.info.definition.volumeMounts }

  /** The sandbox's own container for an empty id, else a sidecar. @throws {StatusError} NOT_FOUND */
  inside (containerId: string): Inside {
    return containerId === '' ? this : this.sidecar(containerId)
  }

  /** @throws {StatusError} NOT_FOUND */
  sidecar (id: string): Sidecar {
    const sidecar = this.sidecars.find((sidecar) => sidecar.id === id)
    if (sidecar) return sidecar
    throw notFound(`Container with ID ${id} not found in sandbox ${this.id}`)
  }

  /** @throws {StatusError} NOT_FOUND once the sandbox ends, and with it all that it has */
  addSidecar (sidecar: Sidecar): void {
    this.sidecars.push(sidecar)
    if (!this.#isOver) return
    sidecar.stop().catch(() => {})
    throw notFound(`Sandbox ${this.id} has already finished`)
  }

  removeSidecar (sidecar: Sidecar): void {
    this.sidecars.splice(this.sidecars.indexOf(sidecar), 1)
  }

  /** The entrypoint's standard input, written by offset. */
  async stdin (): Promise<StdinWriter> {
    const container = await this.started
    this.#stdin ??= new StdinWriter(container.main.stdin)
    return this.#stdin
  }

  /** Ends the sandbox. The first reason counts; later calls wait for the same end. */
  async stop (reason: EndReason): Promise<void> {
    if (!this.running) return
    this.#reason ??= reason
    const stop = this.started.then(async (container) => {
      await container.stop()
      await this.ended
    })
    this.#stop = stop
    await stop
  }

  /** Tells by its result that it could not be started. */
  failStart (error: Error): void {
    this.result = { status: resultStatus.initFailure, exitcode: 0, exception: error.message }
  }

  /** Settles when it has ended, or the last {@link stop} has failed. */
  async settled (): Promise<void> {
    await Promise.race([this.ended, ...this.#stop === undefined ? [] : [this.#stop]])
  }

  /** Ends the sandbox and removes the output of its commands. */
  async discard (): Promise<void> {
    await (await this.started).discard()
    await Promise.all(this.sidecars.map(async ({ started }) => { await (await started).discard() }))
  }

  async #watch (container: Container): Promise<void> {
    this.lifetime.begin()
    const status = await container.exited
    this.lifetime.end()
    this.#isOver = true
    await Promise.allSettled(this.sidecars.map((sidecar) => sidecar.stop()))
    if (container.isOutOfMemory) this.#reason ??= 'memory'
    this.result = resultOf(this.#reason, status, this.#idleExitCode)
  }
}
