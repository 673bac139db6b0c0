import { getJson, paths } from '../lib/api.js'
import { words } from '../lib/words.js'

/** Close codes of the service; see docs/terminal.md. */
const replaced = 4002
const chunk = 32_768
const longestWaitMs = 10_000

/**
 * The WebSocket to a shell. It comes back after a lost connection and goes on where it was: the service keeps the shell
 * for some minutes.
 */
export class ShellConnection {
  #sandboxId
  #terminalId
  #on
  #socket
  /** Bytes of output that were received. */
  #position = 0
  #attempts = 0
  /** What was typed before the shell was there. */
  #typed = ''
  /** Whether the shell is not there: then Enter asks for one. */
  #isOver = false
  #isOpen = false

  constructor (sandboxId, terminalId, handlers) {
    this.#sandboxId = sandboxId
    this.#terminalId = terminalId
    this.#on = handlers
  }

  open () {
    this.#isOver = false
    const url = new URL(`/api/modal/sandbox/${encodeURIComponent(this.#sandboxId)}/terminal`, location.href)
    url.protocol = url.protocol.replace('http', 'ws')
    const known = this.#terminalId && { terminalId: this.#terminalId, from: this.#position }
    url.search = new URLSearchParams({ ...this.#on.size(), ...known })
    const socket = this.#socket = new WebSocket(url)
    socket.binaryType = 'arraybuffer'
    socket.onmessage = ({ data }) => typeof data === 'string' ? this.#message(JSON.parse(data)) : this.#output(data)
    socket.onclose = ({ code }) => this.#closed(code)
  }

  send (text) {
    if (this.#isOver) return text.includes('\r') ? this.open() : undefined
    if (!this.#isOpen) this.#typed += text
    else this.#write(text)
  }

  #write (text) {
    const bytes = new TextEncoder().encode(text)
    for (let from = 0; from < bytes.length; from += chunk) this.#socket.send(bytes.subarray(from, from + chunk))
  }

  resize ({ cols, rows }) {
    if (this.#isOpen) this.#socket.send(JSON.stringify({ type: 'resize', columns: cols, rows }))
  }

  /** Ends the shell. */
  end () {
    if (this.#isOpen) this.#socket.send(JSON.stringify({ type: 'end' }))
  }

  #output (data) {
    this.#position += data.byteLength
    this.#on.onOutput(new Uint8Array(data))
  }

  #message (message) {
    if (message.type === 'open') this.#opened(message)
    else if (message.type === 'exit') this.#end(() => this.#on.onEnded(words.terminal.ended(message.exitCode)))
    else if (message.code === 'TERMINAL_NOT_FOUND') this.#end(() => this.#on.onEnded(words.terminal.gone))
    else this.#stop(() => this.#on.onFailed(message))
  }

  #opened ({ terminalId, from }) {
    const isSame = terminalId === this.#terminalId
    if (from > this.#position || (isSame && from < this.#position)) this.#on.onGap()
    this.#attempts = 0
    this.#position = from
    this.#terminalId = terminalId
    this.#isOpen = true
    this.#on.onOpen(terminalId)
    this.#write(this.#typed)
    this.#typed = ''
  }

  #end (tell) {
    this.#terminalId = undefined
    this.#position = 0
    this.#stop(tell)
  }

  #stop (tell) {
    this.#isOver = true
    this.#isOpen = false
    tell()
  }

  async #closed (code) {
    this.#isOpen = false
    if (this.#isOver) return
    if (code === replaced) return this.#stop(this.#on.onReplaced)
    if (await isSignedOut()) return this.#stop(this.#on.onSignedOut)
    if (this.#attempts === 0) this.#on.onLost()
    const waitMs = Math.min(500 * 2 ** this.#attempts++, longestWaitMs)
    setTimeout(() => this.open(), waitMs)
  }
}

/** A page can't see why a connection was refused. */
async function isSignedOut () {
  return await getJson(paths.status).then(({ account }) => account === null, () => false)
}
