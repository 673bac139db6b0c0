import { type Client, credentials, makeClientConstructor, Metadata, type ServiceError } from '@grpc/grpc-js'
import { ModalClient, type ModalClientParams } from 'modal'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { removeTree } from '../../emulator/container/host.js'
import { type Emulator, type EmulatorOptions, startEmulator } from '../../emulator/index.js'
import { loadServices } from '../../emulator/proto/load.js'
import { isolation } from './isolation.js'
import { creator } from './sdk.js'

const silent = { debug () {}, info () {}, warn () {}, error () {} }

/** What the emulator logged as a warning or an error. */
type LogLines = Array<{ message: string, fields: Record<string, any> }>

interface TestEmulator extends Emulator {
  dataDir: string
  logged: LogLines
  /** A client of the real SDK. */
  modal (family?: 'V1' | 'V2', tokens?: { tokenId: string, tokenSecret: string }): ModalClient
  /** Closes the emulator and its clients, and removes the data directory unless it is kept. */
  stop (options?: { keep?: boolean }): Promise<void>
}

/** A new emulator in a data directory of its own. */
export async function testEmulator (
  options: Partial<Omit<EmulatorOptions, 'log'>> = {}
): Promise<TestEmulator> {
  const dataDir = options.dataDir ?? await mkdtemp(join(tmpdir(), 'emulator-test-'))
  const logged: LogLines = []
  const keep = (fields: object, message: string) => { logged.push({ message, fields }) }
  const emulator = await startEmulator({ isolation, ...options, dataDir, log: { ...silent, warn: keep, error: keep } })
  const clients: ModalClient[] = []
  return {
    ...emulator,
    dataDir,
    logged,
    modal (family, tokens = emulator) {
      const client = sdkClient(emulator.url, tokens, family)
      clients.push(client)
      return client
    },
    async stop ({ keep = false } = {}) {
      await emulator.close()
      for (const client of clients) client.close()
      if (!keep) await removeTree(dataDir)
    }
  }
}

/** An emulator for the tests of one file, and a bare client; `skip` says why sandboxes don't work on this machine. */
export async function openEmulator (t: Test, options: Parameters<typeof testEmulator>[0] = {}) {
  const emulator = await testEmulator(options)
  const bare = new BareClient(emulator)
  t.teardown(async () => { bare.close(); await emulator.stop() })
  const { ok, message } = await emulator.selfTest
  return { emulator, bare, skip: ok ? false : message }
}

/** An app of this name, the image `local`, and a function that creates sandboxes of both. */
export async function localApp (modal: ModalClient, name: string) {
  const app = await modal.apps.fromName(name, { createIfMissing: true })
  const image = await modal.images.fromRegistry('local').build(app)
  return { app, image, create: creator(modal, app, image) }
}

/** The last test of a file: no call failed in a way that the emulator did not expect. */
export function expectNothingUnexpected (t: Test, { logged }: TestEmulator): void {
  t.test('nothing was unexpected on the way', async (t) => {
    t.same(logged.filter(({ message }) => /unexpected/.test(message)), [])
  })
}

/** A client of the real SDK; `V1` makes sandboxes of the old backend. */
export function sdkClient (
  url: string, { tokenId, tokenSecret }: { tokenId: string, tokenSecret: string }, family: 'V1' | 'V2' = 'V2',
  options: ModalClientParams = {}
): ModalClient {
  return withEnvironment({ MODAL_SERVER_URL: url, MODAL_SANDBOX_V2: family === 'V1' ? '0' : '1' },
    () => new ModalClient({ tokenId, tokenSecret, environment: 'main', logger: silent, ...options }))
}

/** The SDK reads its server and backend from the environment when a client is made. */
function withEnvironment<T> (values: Record<string, string>, make: () => T): T {
  const before = { ...process.env }
  Object.assign(process.env, values)
  try {
    return make()
  } finally {
    for (const name of Object.keys(values)) {
      if (before[name] === undefined) delete process.env[name]
      else process.env[name] = before[name]
    }
  }
}

/** Plain gRPC calls, for what the SDK never sends. */
export class BareClient {
  readonly #emulator: Emulator
  readonly #clients: Record<'client' | 'commandRouter', Client & Record<string, any>>

  constructor (emulator: Emulator) {
    const services = loadServices()
    const connect = (name: 'client' | 'commandRouter') => {
      const Service = makeClientConstructor(services[name], name)
      return new Service(emulator.url.replace('http://', ''), credentials.createInsecure()) as any
    }
    this.#emulator = emulator
    this.#clients = { client: connect('client'), commandRouter: connect('commandRouter') }
  }

  control (method: string, request: object, headers: Record<string, string> = {}): Promise<any> {
    return this.#call('client', method, request, headers)
  }

  /** @param jwt empty: no authorization header. */
  router (jwt: string, method: string, request: object): Promise<any> {
    return this.#call('commandRouter', method, request, jwt === '' ? {} : { authorization: `Bearer ${jwt}` })
  }

  stream (method: string, request: object): AsyncIterable<any> {
    return this.#clients.client[method](request, this.#metadata())
  }

  /** What the SDK keeps to itself: the id of a sandbox's task, and the token for its command router. */
  async task (sandboxId: string): Promise<{ taskId: string, jwt: string }> {
    const { jwt } = await this.control('SandboxGetCommandRouterAccess', { sandboxId })
    const { sub } = JSON.parse(Buffer.from(jwt.split('.')[1], 'base64url').toString())
    return { taskId: sub, jwt }
  }

  close (): void {
    for (const client of Object.values(this.#clients)) client.close()
  }

  #call (service: 'client' | 'commandRouter', method: string, request: object, headers: object): Promise<any> {
    return new Promise((resolve, reject) => {
      const answer = (error: ServiceError | null, value: unknown) => { if (error) reject(error); else resolve(value) }
      this.#clients[service][method](request, this.#metadata(headers), answer)
    })
  }

  #metadata (headers: object = {}): Metadata {
    const { tokenId, tokenSecret } = this.#emulator
    const metadata = new Metadata()
    const all = { 'x-modal-token-id': tokenId, 'x-modal-token-secret': tokenSecret, ...headers }
    for (const [name, value] of Object.entries(all)) metadata.set(name, value)
    return metadata
  }
}
