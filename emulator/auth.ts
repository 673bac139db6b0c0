import { Metadata } from '@grpc/grpc-js'
import { jwtVerify, SignJWT } from 'jose'
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { StartProblem } from '../lib/start-problem.js'
import { objectId } from './control/ids.js'
import { unauthenticated } from './control/status.js'
import { writeFileAtomic } from './lib/write-file-atomic.js'

const lifetimeSeconds = 3600
const keepVerified = 1000

/** Access to this emulator. Sandboxes share the host's loopback, so nothing else keeps an agent from driving it. */
interface Credentials { tokenId: string, tokenSecret: string, signingKey: string }

/** Reads or creates `credentials.json` (mode 0600) in the data directory: clients keep working after a restart. */
export async function openCredentials (dataDir: string): Promise<Credentials> {
  const file = join(dataDir, 'credentials.json')
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Credentials
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      throw new StartProblem(`reading the emulator's credentials (${file}) failed: repair or remove the file.`, { cause: error })
    }
  }
  const credentials = {
    tokenId: objectId('ak'),
    tokenSecret: objectId('as'),
    signingKey: randomBytes(32).toString('base64url')
  }
  await mkdir(dataDir, { recursive: true })
  await writeFileAtomic(file, JSON.stringify(credentials), 0o600)
  return credentials
}

/** What somebody may do who knows an address for the transfer of a file's content. */
export interface TransferGrant {
  id: string
  method: 'GET' | 'PUT'
  /** Bytes to be read. */
  start: number
  /** As many as are read, or may be written at most. */
  length: number
}

export interface ConnectGrant { sandboxId: string, port: number, metadata: string }

/** Checks the token headers of control-plane calls; issues and checks the JWTs of the command router. */
export class Authority {
  readonly #credentials: Credentials
  readonly #key: Uint8Array
  /** Tokens already verified: each is sent hundreds of times, and verifying costs as much as the call itself. */
  readonly #verified = new Map<string, { taskId: string, expiresAt: number }>()

  constructor (credentials: Credentials) {
    this.#credentials = credentials
    this.#key = Buffer.from(credentials.signingKey, 'base64url')
  }

  /** @throws {StatusError} UNAUTHENTICATED */
  checkTokens (metadata: Metadata): void {
    const id = same(header(metadata, 'x-modal-token-id'), this.#credentials.tokenId)
    const secret = same(header(metadata, 'x-modal-token-secret'), this.#credentials.tokenSecret)
    if (!id || !secret) {
      throw unauthenticated('Wrong token ID or secret: the local emulator accepts only the pair it prints at startup')
    }
  }

  clientToken (): Promise<string> {
    return this.#sign('client')
  }

  /** A JWT for the command router that is valid for one task only. */
  taskToken (taskId: string): Promise<string> {
    return this.#sign('task', taskId)
  }

  /** A token that lets HTTP requests through to one port of a sandbox. It is of no use once the sandbox has ended. */
  connectToken ({ sandboxId, port, metadata }: ConnectGrant): Promise<string> {
    return new SignJWT({ port, metadata }).setProtectedHeader({ alg: 'HS256' }).setAudience('connect').setIssuedAt()
      .setSubject(sandboxId).sign(this.#key)
  }

  /** What a connect token is good for; undefined when it is none. */
  async connectGrant (token: string): Promise<ConnectGrant | undefined> {
    try {
      const { payload } = await jwtVerify(token, this.#key, { algorithms: ['HS256'], audience: 'connect' })
      return { sandboxId: String(payload.sub), port: Number(payload['port']), metadata: String(payload['metadata']) }
    } catch {
      return undefined
    }
  }

  /** A part of the address at which content is sent or fetched, for an hour. */
  transferToken (grant: TransferGrant): Promise<string> {
    return new SignJWT({ ...grant }).setProtectedHeader({ alg: 'HS256' }).setAudience('transfer').setIssuedAt()
      .setExpirationTime(`${lifetimeSeconds}s`).sign(this.#key)
  }

  /** What a part of an address is good for; undefined when it is not, or no longer. */
  async transferGrant (token: string): Promise<TransferGrant | undefined> {
    try {
      const { payload } = await jwtVerify(token, this.#key, { algorithms: ['HS256'], audience: 'transfer' })
      return payload as unknown as TransferGrant
    } catch {
      return undefined
    }
  }

  /** The task that the bearer token is valid for. @throws {StatusError} UNAUTHENTICATED */
  async taskOf (metadata: Metadata): Promise<string> {
    const [scheme, token] = header(metadata, 'authorization').split(' ')
    if (scheme !== 'Bearer' || token === undefined) throw unauthenticated('The command router needs a bearer token')
    const known = this.#verified.get(token)
    if (known && known.expiresAt > Date.now() / 1000) return known.taskId
    try {
      const { payload } = await jwtVerify(token, this.#key, { algorithms: ['HS256'], audience: 'task' })
      return this.#remember(token, { taskId: String(payload.sub), expiresAt: payload.exp ?? 0 })
    } catch {
      throw unauthenticated('The command router token is not valid or has expired')
    }
  }

  #remember (token: string, grant: { taskId: string, expiresAt: number }): string {
    if (this.#verified.size >= keepVerified) this.#verified.clear()
    this.#verified.set(token, grant)
    return grant.taskId
  }

  #sign (audience: 'client' | 'task', subject?: string): Promise<string> {
    const jwt = new SignJWT().setProtectedHeader({ alg: 'HS256' }).setAudience(audience).setIssuedAt()
      .setExpirationTime(`${lifetimeSeconds}s`)
    if (subject !== undefined) jwt.setSubject(subject)
    return jwt.sign(this.#key)
  }
}

function header (metadata: Metadata, name: string): string {
  return String(metadata.get(name)[0] ?? '')
}

function same (given: string, expected: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(given), digest(expected))
}
