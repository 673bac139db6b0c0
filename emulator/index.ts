import { mkdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { Authority, openCredentials } from './auth.js'
import { findClaudeBinary } from './container/claude-binary.js'
import { createRuntime } from './container/runtime.js'
import type { SelfTest } from './container/types.js'
import { ImageBuilds } from './images/builds.js'
import { ImageStore } from './images/store.js'
import { lockDirectory } from './lock.js'
import type { Log } from './log.js'
import { allHandlers } from './rpc/handlers.js'
import { SandboxRegistry } from './sandboxes/registry.js'
import { Secrets } from './control/secrets.js'
import { listen, shutdown } from './server.js'
import { State } from './control/state.js'
import { VolumeCatalog } from './volumes/catalog.js'

/** How long calls in flight may take when the emulator closes. */
const shutdownGraceMs = 250

export interface EmulatorOptions {
  /** Volumes, images, ids and credentials are kept here; sandboxes die with the emulator. */
  dataDir: string
  /** Image tags and the directories that hold their root file systems. `local` is always there. */
  images?: Record<string, string>
  /** Named secrets and their values. */
  secrets?: Record<string, Record<string, string>>
  /** Default 0: any free one. */
  port?: number
  log: Log
}

export interface Emulator {
  /** For `MODAL_SERVER_URL`. */
  url: string
  tokenId: string
  tokenSecret: string
  /** Whether sandboxes work on this machine, how, and if not what to do: known after a while, and never rejected. */
  selfTest: Promise<SelfTest>
  /** Ends every sandbox, then the server; nothing stays but the data directory. */
  close (): Promise<void>
}

/**
 * A server on loopback that speaks Modal's gRPC API, for the unmodified SDK. CPU and memory requests are accepted and
 * not enforced; what it can't do honestly it refuses (UNIMPLEMENTED).
 * @throws {Error} when the data directory is in use or not writable, or the port is taken
 */
export async function startEmulator (options: EmulatorOptions): Promise<Emulator> {
  const { log, port = 0 } = options
  await mkdir(options.dataDir, { recursive: true })
  const dataDir = await realpath(options.dataDir)
  const lock = await lockDirectory(dataDir)
  const undo = [lock.release]
  const close = async () => { for (const step of undo.splice(0).reverse()) await step() }
  try {
    const { signingKey, ...tokens } = await openCredentials(dataDir)
    const machine = await openMachine({ ...options, dataDir })
    undo.push(machine.close)
    const authority = new Authority({ signingKey, ...tokens })
    let url = ''
    const handlers = allHandlers({ ...machine, authority, routerUrl: () => url.replace('http:', 'https:') })
    const listening = await listen({ authority, log, ...handlers }, port)
    // Sandboxes end before the server does: who waits for one still gets the answer.
    undo.splice(1, 0, () => shutdown(listening.server, shutdownGraceMs))
    url = `http://127.0.0.1:${listening.port}`
    const selfTest = machine.runtime.selfTest()
    undo.push(async () => { await selfTest })
    return { url, ...tokens, selfTest, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** Everything behind the RPCs. */
async function openMachine ({ dataDir, log, images = {}, secrets: named = {} }: EmulatorOptions) {
  const claudeBinary = findClaudeBinary()
  if (claudeBinary === undefined) {
    log.warn({}, 'emulator: the Claude CLI is not installed, so sandboxes have none: run npm install --include=optional')
  }
  const state = await State.open(dataDir)
  const runtime = await createRuntime({ dataDir, log, claudeBinary })
  const registry = new SandboxRegistry()
  const secrets = new Secrets(state, named)
  const volumes = new VolumeCatalog(state, runtime.volumes, (id) => registry.released(id))
  const store = new ImageStore({ dataDir: join(dataDir, 'images'), runtime, images })
  return {
    state,
    runtime,
    registry,
    secrets,
    volumes,
    images: new ImageBuilds(state, store, secrets, log),
    start: runtime.start.bind(runtime),
    async close () {
      volumes.close()
      await Promise.allSettled(registry.all().map((sandbox) => sandbox.stop('terminated')))
      await runtime.close()
    }
  }
}
