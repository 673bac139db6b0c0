import { createHash, type Hash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { AppError } from '../../errors.js'
import type { Log } from '../../lib/log.js'
import type { Account } from '../../schemas/account.js'
import type { FileEntry, FileListing } from '../../schemas/file.js'
import type { Exec } from '../sandboxes/exec.js'
import type { SandboxService } from '../sandboxes/service.js'
import { readContent, type FileContent } from './content.js'
import { parseListing } from './listing.js'
import { fileCommand, fileError, newNonce, unexpected, type FileCommand } from './script.js'

/** For finding and listing; contents may take as long as they need. */
const timeoutMs = 60_000
/** One call of Modal carries this much of an upload. */
const pieceBytes = 1024 * 1024
/** Of a file up to this size, a reader is told its digest: others are not edited by hand. */
const digestedBytes = 1024 * 1024

/** Which account's sandbox, and a signal that aborts when the client has gone. */
interface FileAccess {
  account: Account
  id: string
  log: Log
  signal: AbortSignal
}

interface WrittenFile {
  entry: FileEntry
  /** The SHA-256 of its content, in hex. */
  digest: string
}

/**
 * The files of a running sandbox, read and written by commands in it: where a path leads is decided there, when it is
 * opened. Contents are streamed, never held in memory.
 */
export class FileService {
  readonly #sandboxes: SandboxService

  constructor (sandboxes: SandboxService) {
    this.#sandboxes = sandboxes
  }

  /** A directory's entries; with `since`, the files below it that were written after that. */
  async list (access: FileAccess, path: string, since?: Date): Promise<FileListing> {
    const nonce = newNonce()
    const command = since === undefined
      ? { action: 'list' as const }
      : { action: 'changed' as const, number: Math.floor(since.getTime() / 1000) }
    const exec = await this.#start(access, { ...command, path, nonce }, timeoutMs)
    const { stdout, bytes } = await finish(exec, access.signal)
    return parseListing(stdout, nonce, { cut: bytes >= pieceBytes, since: since?.getTime() })
  }

  /** @throws {AppError} FILE_NOT_FOUND, PATH_FORBIDDEN, BAD_REQUEST, FILE_FAILED, before there is any content. */
  async read (access: FileAccess, path: string): Promise<FileContent> {
    const exec = await this.#start(access, { action: 'read', path, number: digestedBytes })
    return await readContent(exec, access.signal)
  }

  /**
   * Writes a file of `size` bytes, and the directories above it: replaced when all has arrived, or not at all.
   * @param expected the SHA-256, in hex, of the content that it may replace; any, if not given.
   * @throws {AppError} FILE_CHANGED if that is not its content; PATH_FORBIDDEN, BAD_REQUEST, FILE_FAILED.
   */
  async write (
    access: FileAccess, path: string, body: Readable, size: number, expected?: string
  ): Promise<WrittenFile> {
    const nonce = newNonce()
    const hash = createHash('sha256')
    const exec = await this.#start(access, { action: 'write', path, nonce, number: size, expected })
    const { stdout } = await finish(exec, access.signal, inPieces(body, hash))
    const [entry] = parseListing(stdout, nonce).entries
    if (entry === undefined) throw unexpected()
    return { entry, digest: hash.digest('hex') }
  }

  /** Removes a file or a symlink; not what that leads to. */
  async remove (access: FileAccess, path: string): Promise<void> {
    await finish(await this.#start(access, { action: 'delete', path }, timeoutMs), access.signal)
  }

  async #start ({ account, id, log }: FileAccess, command: FileCommand, limitMs?: number): Promise<Exec> {
    const owned = await this.#sandboxes.find(account, id)
    return await this.#sandboxes.execIn(account, owned, {
      command: fileCommand(owned, command), workdir: '/', encoding: 'utf8', ...(limitMs !== undefined && { timeoutMs: limitMs })
    }, log)
  }
}

/** The output of a command that has to succeed. */
async function finish (exec: Exec, signal: AbortSignal, input?: AsyncIterable<Uint8Array>) {
  const { exitCode, timedOut, stdout, stderr, bytes } = await exec.collect(signal, input)
  if (timedOut) throw new AppError('MODAL_TIMEOUT', { step: 'files' })
  if (exitCode !== 0) throw fileError(exitCode, stderr)
  return { stdout, bytes: bytes.stdout }
}

/** A request's body in larger pieces. Not destroyed when the command ends early: the answer needs its connection. */
async function * inPieces (body: Readable, hash: Hash): AsyncGenerator<Uint8Array> {
  let pieces: Buffer[] = []
  let length = 0
  for await (const chunk of body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    hash.update(chunk)
    pieces.push(chunk)
    length += chunk.length
    if (length < pieceBytes) continue
    yield Buffer.concat(pieces)
    pieces = []
    length = 0
  }
  if (length > 0) yield Buffer.concat(pieces)
}
