import type { Container, ExitStatus } from '../container/types.js'
import { type GenericResult, resultStatus, type SandboxDefinition, type SandboxTag } from '../proto/messages.js'
import { Lifetime } from './lifetime.js'
import type { Readiness } from './readiness.js'
import { type Exec, StdinWriter } from './stdin.js'

/** Modal has two backends; the shape of the id tells the SDK which RPCs to use. */
export type Family = 'V1' | 'V2'

/** Why the emulator ended a sandbox that had not ended by itself. */
export type EndReason = 'terminated' | 'timeout' | 'idle'

export interface SandboxFacts {
  id: string
  taskId: string
  family: Family
  appId: string
  appName: string
  environment: string
  definition: SandboxDefinition
  /** Seconds since the epoch; unique, because lists page by it. */
  createdAt: number
}

/** A container with Modal's life around it: name, tags, deadlines, and a result that outlives it. */
export class Sandbox {
  readonly facts: SandboxFacts
  name: string | undefined
  tags: SandboxTag[]
  /** By exec id; a start that is repeated finds the first one. */
  readonly execs = new Map<string, Promise<Exec>>()
  readonly lifetime: Lifetime
  /** Settles when the container is running, or could not be started. */
  readonly started: Promise<Container>
  /** Resolves when the result is known, after the volumes' final commit. */
  readonly ended: Promise<void>
  result: GenericResult | undefined
  /** Only with a readiness probe. */
  readiness: Readiness | undefined
  #reason: EndReason | undefined
  #stdin: StdinWriter | undefined

  constructor (facts: SandboxFacts, tags: SandboxTag[], start: () => Promise<Container>) {
    const { timeoutSecs, idleTimeoutSecs } = facts.definition
    this.facts = facts
    this.name = facts.definition.name || undefined
    this.tags = tags
    this.lifetime = new Lifetime(timeoutSecs, idleTimeoutSecs, (reason) => this.stop(reason))
    this.started = start()
    this.ended = this.started.then((container) => this.#watch(container))
    this.ended.catch(() => {})
  }

  get id (): string { return this.facts.id }

  get running (): boolean { return this.result === undefined }

  /** The entrypoint's standard input, written by offset. */
  async stdin (): Promise<StdinWriter> {
    const container = await this.started
    this.#stdin ??= new StdinWriter(container.main.stdin)
    return this.#stdin
  }

  /** Ends the sandbox for `reason`; the first reason counts, later calls wait for the same end. */
  async stop (reason: EndReason): Promise<void> {
    if (!this.running) return
    this.#reason ??= reason
    const container = await this.started
    await container.stop()
    await this.ended
  }

  /** Forgets the output of its commands, too. */
  async discard (): Promise<void> {
    await (await this.started).discard()
  }

  async #watch (container: Container): Promise<void> {
    this.lifetime.begin()
    const status = await container.exited
    this.lifetime.end()
    this.result = resultOf(this.#reason, status)
  }
}

function resultOf (reason: EndReason | undefined, status: ExitStatus): GenericResult {
  switch (reason) {
    case 'terminated':
      return { status: resultStatus.terminated, exitcode: 137, exception: 'Task terminated due to user request' }
    case 'timeout':
      return { status: resultStatus.timeout, exitcode: 124, exception: 'Sandbox reached its timeout' }
    case 'idle':
      return { status: resultStatus.idleTimeout, exitcode: 137, exception: 'Sandbox reached its idle timeout' }
    case undefined: {
      const exitcode = exitCode(status)
      return { status: exitcode === 0 ? resultStatus.success : resultStatus.failure, exitcode }
    }
  }
}

function exitCode (status: ExitStatus): number {
  return 'code' in status ? status.code : 128 + status.signal
}
