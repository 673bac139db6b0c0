import type { SandboxTag } from '../proto/messages.js'
import { alreadyExists, notFound } from '../control/status.js'
import type { Strictness } from '../strict.js'
import { EndedOutput } from './ended-output.js'
import type { Family, Sandbox } from './sandbox.js'
import type { Inside } from './sidecar.js'

/** Ended sandboxes still answer; beyond this many, the oldest are forgotten. */
const maxEnded = 500

/** Sandboxes per page of a list. */
const pageSize = 10

interface ListFilter {
  /** Empty: every app of the environment. */
  appId: string
  environment: string
  /** Undefined: both families. */
  family: Family | undefined
  /** Seconds since the epoch, exclusive; 0: from the newest. */
  before: number
  includeFinished: boolean
  tags: SandboxTag[]
}

/** Every sandbox that this server knows, newest last. */
export class SandboxRegistry {
  readonly output = new EndedOutput()
  readonly #byId = new Map<string, Sandbox>()
  readonly #byTask = new Map<string, Sandbox>()
  readonly #forgetAfterMs: number | undefined
  #lastCreatedAt = 0

  /** @param strictness of which `forgotten` counts */
  constructor ({ forgotten }: Strictness = {}) {
    this.#forgetAfterMs = forgotten
  }

  /** Seconds since the epoch, strictly increasing: lists page by it. */
  nextCreatedAt (): number {
    this.#lastCreatedAt = Math.max(Date.now() / 1000, this.#lastCreatedAt + 0.000_01)
    return this.#lastCreatedAt
  }

  add (sandbox: Sandbox): void {
    this.#byId.set(sandbox.id, sandbox)
    this.#byTask.set(sandbox.info.taskId, sandbox)
    sandbox.started.then(({ main }) => this.output.keep(main)).catch(() => {})
    this.#forgetOldest()
    const later = () => { setTimeout(() => { this.#forget(sandbox) }, this.#forgetAfterMs).unref() }
    if (this.#forgetAfterMs !== undefined) sandbox.ended.then(later, later)
  }

  remove (sandbox: Sandbox): void {
    this.#byId.delete(sandbox.id)
    this.#byTask.delete(sandbox.info.taskId)
  }

  all (): Sandbox[] { return [...this.#byId.values()] }

  /** @throws {StatusError} NOT_FOUND; also when the id belongs to the other family. */
  byId (id: string, family?: Family): Sandbox {
    const sandbox = this.#byId.get(id)
    if (sandbox && (family === undefined || sandbox.info.family === family)) return sandbox
    throw notFound(`Sandbox with ID ${id} not found`)
  }

  /** @throws {StatusError} NOT_FOUND */
  byTask (taskId: string): Sandbox {
    const sandbox = this.#byTask.get(taskId)
    if (sandbox) return sandbox
    throw notFound(`Task with ID ${taskId} not found`)
  }

  /** The running sandbox of that name or, if asked for, the last one that ended. @throws {StatusError} NOT_FOUND */
  byName (app: { name: string, environment: string }, name: string, family: Family, ended: boolean): Sandbox {
    const named = this.all().reverse().filter(({ name: own, info }) => own === name &&
      info.appName === app.name && info.environment === app.environment && info.family === family)
    const found = named.find((sandbox) => sandbox.running) ?? (ended ? named[0] : undefined)
    if (found) return found
    throw notFound(`Sandbox with name '${name}' not found in App '${app.name}'`)
  }

  /** @throws {StatusError} ALREADY_EXISTS while a running sandbox of the app has the name */
  checkNameFree (appId: string, name: string): void {
    const holder = this.all().find(({ running, name: taken, info }) =>
      running && taken === name && info.appId === appId)
    if (holder) throw alreadyExists(`Sandbox with name '${name}' already exists in this App: ${holder.id}`)
  }

  /** Resolves once no running sandbox mounts the volume. */
  released (volumeId: string): Promise<unknown> {
    const mounts = ({ volumeMounts }: Inside) => volumeMounts.some((mount) => mount.volumeId === volumeId)
    const users = this.all().filter((sandbox) => sandbox.running && [sandbox, ...sandbox.sidecars].some(mounts))
    return Promise.allSettled(users.map((sandbox) => sandbox.ended))
  }

  /** One page, newest first. */
  list (filter: ListFilter): Sandbox[] {
    // Sorted, because sandboxes are not registered in the order of their creation times.
    return this.all().toSorted((one, other) => other.info.createdAt - one.info.createdAt)
      .filter((sandbox) => matches(sandbox, filter)).slice(0, pageSize)
  }

  #forgetOldest (): void {
    const ended = this.all().filter((sandbox) => !sandbox.running)
    for (const sandbox of ended.slice(0, Math.max(0, ended.length - maxEnded))) this.#forget(sandbox)
  }

  #forget (sandbox: Sandbox): void {
    this.remove(sandbox)
    sandbox.discard().catch(() => {})
  }
}

function matches ({ info, running, tags }: Sandbox, filter: ListFilter): boolean {
  const inScope = filter.appId === '' ? info.environment === filter.environment : info.appId === filter.appId
  return inScope &&
    (filter.includeFinished || running) &&
    (filter.family === undefined || info.family === filter.family) &&
    (filter.before === 0 || info.createdAt < filter.before) &&
    filter.tags.every((wanted) => tags.some((tag) => sameTag(tag, wanted)))
}

function sameTag (a: SandboxTag, b: SandboxTag): boolean {
  return a.tagName === b.tagName && a.tagValue === b.tagValue
}
