import { mkdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { Authority, openCredentials } from './auth.js'
import { findClaudeBinary } from './container/claude-binary.js'
import { urlInOwnNetwork } from './container/network.js'
import { createRuntime } from './container/runtime.js'
import type { Isolation, SelfTest } from './container/types.js'
import { ImageBuilds } from './images/builds.js'
import { Snapshots } from './images/snapshots.js'
import { ImageStore } from './images/store.js'
import { lockDirectory } from './lock.js'
import type { Log } from './log.js'
import type { Distance } from './rpc/distance.js'
import { allHandlers } from './rpc/handlers.js'
import { SandboxRegistry } from './sandboxes/registry.js'
import { Identity } from './control/identity.js'
import { Secrets } from './control/secrets.js'
import { listen, shutdown } from './server.js'
import { State } from './control/state.js'
import { parseStrictness, type Strictness } from './strict.js'
import { Contents } from './transfers/contents.js'
import { TransferServer } from './transfers/server.js'
import { type Certificate, openCertificate } from './tunnels/certificate.js'
import { VolumeCatalog } from './volumes/catalog.js'
import { VolumeFiles } from './volumes/files.js'

/** How long calls in flight may still take when the emulator closes. */
const shutdownGraceMs = 250

const collectEveryMs = 10 * 60_000

export interface EmulatorOptions {
  /** Volumes, images, ids and credentials are kept here; sandboxes end with the emulator. */
  dataDir: string
  /** Image tag to a root directory, an OCI layout or an archive. `local` always exists; others are pulled. */
  images?: Record<string, string>
  /** Named secrets and their variables. */
  secrets?: Record<string, Record<string, string>>
  /** What isolates sandboxes; by default gVisor where `runsc` is installed and works, else namespaces. */
  isolation?: Isolation | undefined
  /** How much harder than it needs to be on its clients, as {@link parseStrictness} reads it; by default not at all. */
  strict?: string | undefined
  /** `host`: sandboxes share this machine's network; `own`: it is an error when they can't have their own. */
  network?: 'own' | 'host' | undefined
  /** By how many milliseconds each answer is late, as if the emulator was as far away as Modal; by default none. */
  delayMs?: number | undefined
  /** Is told of each call that was answered. */
  onCall?: Distance['onCall']
  /** 0, the default, picks a free one. */
  port?: number
  log: Log
}

export interface Emulator {
  /** For `MODAL_SERVER_URL`. */
  url: string
  tokenId: string
  tokenSecret: string
  /** A URL of something on this machine, as a sandbox has to write it: 127.0.0.1 may be its own. */
  urlInSandbox (url: string): string
  /** Whether sandboxes work on this machine, and if not, what to do about it. Never rejects. */
  selfTest: Promise<SelfTest>
  /** Ends every sandbox, then the server; only the data directory remains. */
  close (): Promise<void>
}

/**
 * Starts a server on loopback that speaks Modal's gRPC API to the unmodified SDK. What has no effect on one machine it
 * accepts with a warning; what it can't do honestly it refuses (UNIMPLEMENTED).
 * @throws {Error} when the data directory is in use or not writable, or the port is taken
 */
export async function startEmulator (options: EmulatorOptions): Promise<Emulator> {
  const { log, port = 0, delayMs = 0, onCall } = options
  const strictness = parseStrictness(options.strict)
  await mkdir(options.dataDir, { recursive: true })
  const dataDir = await realpath(options.dataDir)
  const lock = await lockDirectory(dataDir)
  const undo = [lock.release]
  const close = async () => { for (const step of undo.splice(0).reverse()) await step() }
  try {
    const { signingKey, ...tokens } = await openCredentials(dataDir)
    const authority = new Authority({ signingKey, ...tokens })
    const backend = await openBackend({ ...options, dataDir }, authority, strictness)
    undo.push(backend.close)
    let url = ''
    const handlers = allHandlers({ ...backend, authority, routerUrl: () => url.replace('http:', 'https:') })
    const listening = await listen({ authority, log, distance: { delayMs, onCall }, ...handlers }, port)
    // Runs after the sandboxes have ended: calls that wait for one still get their answer.
    undo.splice(1, 0, () => shutdown(listening.server, shutdownGraceMs))
    url = `http://127.0.0.1:${listening.port}`
    const selfTest = backend.runtime.selfTest()
    undo.push(async () => { await selfTest })
    const isShared = await backend.runtime.withoutNetworks() !== undefined
    const urlInSandbox = (url: string) => isShared ? url : urlInOwnNetwork(url)
    return { url, ...tokens, urlInSandbox, selfTest, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** Everything that the RPCs work on. */
async function openBackend (options: EmulatorOptions, authority: Authority, strictness: Strictness) {
  const { dataDir, log, images = {}, secrets: named = {}, isolation, network } = options
  const claudeBinary = findClaudeBinary()
  if (claudeBinary === undefined) {
    log.warn({}, 'emulator: the Claude CLI is not installed, so sandboxes lack it; run npm install --include=optional')
  }
  const state = await State.open(dataDir)
  const runtime = await createRuntime({ dataDir, log, claudeBinary, isolation, network, strictness })
  const registry = new SandboxRegistry(strictness)
  const secrets = new Secrets(state, named)
  const volumes = new VolumeCatalog(state, runtime.volumes, (id) => registry.released(id))
  const contents = await Contents.open(join(dataDir, 'transfers'))
  const transfers = new TransferServer({ authority, contents, log })
  const store = new ImageStore({ dataDir: join(dataDir, 'images'), runtime, images })
  const snapshots = new Snapshots({
    directory: join(dataDir, 'images'), inUse: () => runtime.rootfsInUse, deleted: () => state.records.deletedImages
  })
  await snapshots.removeUnfinished()
  const collect = () => {
    snapshots.collect().catch((error) => { log.warn({ err: error }, 'emulator: expired snapshots could not be removed') })
  }
  collect()
  const identity = new Identity(join(dataDir, 'identity'))
  let certificate: Promise<Certificate> | undefined
  const collecting = setInterval(collect, collectEveryMs).unref()
  return {
    state,
    strictness,
    runtime,
    registry,
    snapshots,
    secrets,
    volumes,
    volumeFiles: new VolumeFiles(runtime.volumes),
    contents,
    transfers,
    images: new ImageBuilds(state, store, secrets, log),
    start: runtime.start.bind(runtime),
    enforces: runtime.enforces.bind(runtime),
    withoutNetworks: runtime.withoutNetworks.bind(runtime),
    identityToken: identity.token.bind(identity),
    certificate: () => {
      certificate ??= openCertificate(join(dataDir, 'tunnels')).catch((error) => { certificate = undefined; throw error })
      return certificate
    },
    async userOf (token: string, sandboxId: string, port: number) {
      const grant = await authority.connectGrant(token)
      return grant?.sandboxId === sandboxId && grant.port === port ? grant : undefined
    },
    async close () {
      clearInterval(collecting)
      volumes.close()
      await transfers.close()
      await store.close()
      await Promise.allSettled(registry.all().map((sandbox) => sandbox.stop('terminated')))
      await runtime.close()
    }
  }
}
