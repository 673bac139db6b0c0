import { streaming, type Api } from './api.js'
import { unwrap, type ApiError } from './errors.js'
import {
  EventStream, type AnyEvent, type CreateEvent, type ExecEvent, type SandboxEvent, type SyncEvent
} from './events.js'
import { follow, isRefusal, isTransient, isUnanswered, type Following } from './follow.js'
import { randomUuid } from './random-uuid.js'
import type { operations } from './schema.js'

type BodyOf<Name extends 'createSandbox' | 'runCommand' | 'syncWorkspace'> =
  operations[Name]['requestBody']['content']['application/json']

export type SandboxSpec = BodyOf<'createSandbox'>
export type ExecSpec = BodyOf<'runCommand'>
export type SyncSpec = BodyOf<'syncWorkspace'>

export interface StreamOptions { signal?: AbortSignal }

export interface CreateOptions extends StreamOptions {
  /** The same key is the same sandbox, also when your program is started again; a random one by default. */
  idempotencyKey?: string
}

const path = '/api/modal/sandbox'

/** What takes long about a sandbox, and so is told as it happens. */
export class Sandboxes {
  readonly #api: Api
  readonly #retryForMs: number

  constructor (api: Api, retryForMs: number) {
    this.#api = api
    this.#retryForMs = retryForMs
  }

  /** Creates a sandbox: its steps, the log of its image's build, and the sandbox. Repeated until there is an answer. */
  create (
    spec: SandboxSpec = {}, { idempotencyKey = randomUuid(), signal }: CreateOptions = {}
  ): EventStream<CreateEvent, 'sandbox'> {
    return new EventStream(this.#follow({
      open: async () => await unwrap(this.#api.POST(path, {
        params: { header: { 'idempotency-key': idempotencyKey } }, body: spec, ...streaming(signal)
      })),
      isLast: named('sandbox'),
      canRepeat: mayCreateAgain,
      signal
    }), 'sandbox')
  }

  /** How a sandbox is, and how it is whenever that has changed, until it has ended. */
  follow (id: string, { signal }: StreamOptions = {}): EventStream<SandboxEvent, 'sandbox'> {
    return new EventStream(this.#follow({
      open: async () => await unwrap(this.#api.GET(`${path}/{id}`, { params: { path: { id } }, ...streaming(signal) })),
      isLast: (event) => (event as SandboxEvent).data.status !== 'running',
      canRepeat: isTransient,
      signal
    }), 'sandbox')
  }

  /** Runs a command. It ends with its connection, and is never repeated. */
  exec (id: string, spec: ExecSpec, { signal }: StreamOptions = {}): EventStream<ExecEvent, 'exit'> {
    return new EventStream(this.#follow({
      open: async () => await unwrap(this.#api.POST(`${path}/{id}/exec`, {
        params: { path: { id } }, body: spec, ...streaming(signal)
      })),
      isLast: named('exit'),
      canRepeat: wasNotBegun,
      signal
    }), 'exit')
  }

  /** Syncs the workspace with S3. A sync goes on without its connection: `GET .../sync` tells how it has ended. */
  sync (id: string, spec: SyncSpec, { signal }: StreamOptions = {}): EventStream<SyncEvent, 'report'> {
    return new EventStream(this.#follow({
      open: async () => await unwrap(this.#api.POST(`${path}/{id}/sync`, {
        params: { path: { id } }, body: spec, ...streaming(signal)
      })),
      isLast: named('report'),
      canRepeat: wasNotBegun,
      signal
    }), 'report')
  }

  #follow (following: Omit<Following, 'retryForMs'>) {
    return follow({ ...following, retryForMs: this.#retryForMs })
  }
}

function named (name: string) {
  return ({ event }: AnyEvent) => event === name
}

/** With its Idempotency-Key a request finds what an earlier attempt has created. */
function mayCreateAgain (error: ApiError): boolean {
  return isRefusal(error) || isUnanswered(error) || error.retryAfterMs !== undefined || error.code === 'CREATE_INTERRUPTED'
}

function wasNotBegun (error: ApiError, begun: boolean): boolean {
  return isRefusal(error) && !begun
}
