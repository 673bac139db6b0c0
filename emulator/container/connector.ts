import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { defaultPath } from './host.js'

interface Answer { id: number }

/** Connects, in the network it was started in, and hands the sockets over. They are not read before. */
const program = `
const { Socket } = require('node:net')
process.on('message', ({ id, host, port }) => {
  const socket = new Socket({ allowHalfOpen: true }).pause()
  socket.once('error', () => process.send({ id }))
  socket.connect(port, host, () => process.send({ id }, socket, () => {}))
})
process.on('disconnect', () => process.exit())`

/**
 * Makes TCP connections in a network that this process is not in. A process that is makes them: a socket stays in the
 * network where it was made, whoever holds it. It is started when it is needed first.
 */
export class Connector {
  /** A command line that runs what follows in that network. */
  readonly #enter: string[]
  readonly #waiting = new Map<number, (socket: Socket | undefined) => void>()
  #child: ChildProcess | undefined
  #asked = 0

  constructor (enter: string[]) {
    this.#enter = enter
  }

  /** @returns undefined when nothing takes the connection */
  async connect (host: string, port: number): Promise<Socket | undefined> {
    const child = this.#child ??= this.#start()
    const id = this.#asked++
    const socket = await new Promise<Socket | undefined>((resolve) => {
      this.#waiting.set(id, resolve)
      child.send({ id, host, port }, (error) => { if (error) this.#settle(id) })
    })
    if (socket) socket.allowHalfOpen = true
    return socket
  }

  close (): void {
    this.#child?.kill('SIGKILL')
  }

  #start (): ChildProcess {
    const args = ['--pdeathsig', 'KILL', ...this.#enter, process.execPath, '-e', program]
    const child = spawn('setpriv', args, { env: { PATH: defaultPath }, cwd: '/', stdio: ['ignore', 'ignore', 'ignore', 'ipc'] })
    child.on('message', ({ id }: Answer, socket) => { this.#settle(id, socket as Socket | undefined) })
    const end = () => {
      if (this.#child === child) this.#child = undefined
      for (const id of this.#waiting.keys()) this.#settle(id)
    }
    child.once('error', end).once('exit', end)
    child.unref()
    child.channel?.unref()
    return child
  }

  #settle (id: number, socket?: Socket): void {
    const resolve = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (resolve) resolve(socket)
    else socket?.destroy()
  }
}

/** The same in the network of this process. */
export async function connectHere (host: string, port: number): Promise<Socket | undefined> {
  const socket = connect({ host, port, allowHalfOpen: true })
  return await once(socket, 'connect').then(() => socket, () => undefined)
}
