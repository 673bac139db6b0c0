import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Value } from '@sinclair/typebox/value'
import type { FastifyRequest } from 'fastify'
import type { RawData, WebSocket } from 'ws'
import { AppError } from '../errors.js'
import { errorAnswers } from '../schemas/common.js'
import { SandboxParams } from '../schemas/sandbox.js'
import { TerminalQuery, TerminalRequest, type TerminalMessage } from '../schemas/terminal.js'
import type { Terminal, Viewer } from '../services/sandboxes/terminal.js'
import type { Terminals } from '../services/sandboxes/terminals.js'
import { inSandbox } from './errors.js'

/** Why a connection was closed; an application's own codes begin at 4000. */
const closeCodes = { ended: 4000, failed: 4001, replaced: 4002 }

interface TerminalRoute { Params: SandboxParams, Querystring: TerminalQuery }

/** An interactive shell in a sandbox, over a WebSocket; `docs/terminal.md` describes its messages. */
const terminal: FastifyPluginAsyncTypebox<{ heartbeatMs: number }> = async (fastify, { heartbeatMs }) => {
  const { sandboxes, terminals } = fastify

  fastify.route<TerminalRoute>({
    method: 'GET',
    url: '/:id/terminal',
    schema: {
      operationId: 'openTerminal',
      summary: 'Open a terminal over a WebSocket',
      tags: ['commands'],
      params: SandboxParams,
      querystring: TerminalQuery,
      errors: [...inSandbox, 'UPGRADE_REQUIRED', 'TERMINAL_NOT_FOUND', 'LIMIT_REACHED'],
      response: errorAnswers
    },
    handler: async ({ account, params: { id } }) => {
      await sandboxes.open(account, id)
      throw new AppError('UPGRADE_REQUIRED', { headers: { upgrade: 'websocket', connection: 'upgrade' } })
    },
    // Errors are told over the connection: a page can't see the answer to a handshake.
    wsHandler: async (socket, request) => {
      const connection = new Connection(socket, request, heartbeatMs)
      try {
        request.takeStreamSlot()
        const { account, query, params: { id } } = request
        const owned = await sandboxes.open(account, id)
        const terminal = query.terminalId === undefined
          ? await terminals.open(owned, query, request.log)
          : terminals.find(owned, query.terminalId)
        if (!connection.hasLeft) return connection.show(terminal, terminals, query.from)
        // Nobody knows of a shell that has just been started.
        if (query.terminalId === undefined) await terminal.kill('its client has left')
      } catch (error) {
        connection.fail(error)
      }
    }
  })
}

export default terminal

/** A WebSocket that shows a terminal. */
class Connection implements Viewer {
  readonly #socket: WebSocket
  readonly #request: FastifyRequest
  readonly #heartbeat: NodeJS.Timeout
  readonly #terminal: Promise<Terminal>
  #found!: (terminal: Terminal) => void
  /** Ends the wait for the client to take the last output. */
  #passOn = () => {}
  #isAlive = true

  constructor (socket: WebSocket, request: FastifyRequest, heartbeatMs: number) {
    this.#socket = socket
    this.#request = request
    this.#terminal = new Promise((resolve) => { this.#found = resolve })
    socket.on('message', (data, isBinary) => {
      this.#receive(data, isBinary).catch((error: unknown) => this.fail(error))
    })
    socket.on('pong', () => { this.#isAlive = true })
    this.#heartbeat = setInterval(() => this.#beat(), heartbeatMs).unref()
    socket.on('close', () => clearInterval(this.#heartbeat))
  }

  get hasLeft (): boolean {
    return this.#socket.readyState !== this.#socket.OPEN
  }

  show (terminal: Terminal, terminals: Terminals, from: number) {
    this.#socket.on('close', () => terminals.detach(terminal, this))
    terminals.attach(terminal, this, from)
    this.#found(terminal)
  }

  open (terminalId: string, from: number) {
    this.#tell({ type: 'open', terminalId, from })
  }

  async output (bytes: Uint8Array) {
    // A client that has left is not waited for.
    await new Promise<void>((resolve) => {
      this.#passOn = resolve
      this.#socket.send(bytes, () => resolve())
    })
  }

  exit (exitCode: number) {
    this.#tell({ type: 'exit', exitCode })
    this.#close(closeCodes.ended)
  }

  fail (error: unknown) {
    const { code, message, hint } = this.#request.report(error)
    this.#tell({ type: 'error', code, message, hint })
    this.#close(closeCodes.failed)
  }

  replaced () {
    this.#close(closeCodes.replaced)
  }

  async #receive (data: RawData, isBinary: boolean) {
    if (this.hasLeft) return
    // Nothing more is read before this is passed on: a client may send before its shell is there.
    this.#socket.pause()
    const terminal = await this.#terminal
    if (isBinary) await terminal.write(data as Buffer)
    else this.#obey(terminal, readRequest(String(data)))
    this.#socket.resume()
  }

  #obey (terminal: Terminal, request: TerminalRequest) {
    if (request.type === 'resize') terminal.resize(request)
    else terminal.kill('closed by its user')
  }

  /** A paused socket would not see the client's answer. */
  #close (code: number) {
    this.#passOn()
    this.#socket.resume()
    this.#socket.close(code)
  }

  #tell (message: TerminalMessage) {
    this.#socket.send(JSON.stringify(message), () => {})
  }

  /** Proxies close what is silent, and a client may be gone without a word. */
  #beat () {
    // What has not been read may be the answer to the last one.
    if (this.#socket.isPaused) this.#isAlive = true
    else if (!this.#isAlive) return this.#socket.terminate()
    else this.#isAlive = false
    this.#socket.ping()
  }
}

/** @throws {AppError} BAD_REQUEST. */
function readRequest (text: string): TerminalRequest {
  try {
    const message: unknown = JSON.parse(text)
    if (Value.Check(TerminalRequest, message)) return message
  } catch {}
  throw new AppError('BAD_REQUEST', {
    message: 'A text message must be {"type": "resize", "columns": 2-1000, "rows": 2-1000} or {"type": "end"}.'
  })
}
