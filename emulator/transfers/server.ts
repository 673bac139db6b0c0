import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import type { Authority, TransferGrant } from '../auth.js'
import { isNoSpace, noSpaceText } from '../lib/no-space.js'
import type { Log } from '../log.js'
import { type Contents, TooLarge } from './contents.js'

interface Parts { authority: Authority, contents: Contents, log: Pick<Log, 'warn'> }

/**
 * Takes and gives the content of files over HTTP, as Modal's storage does: at addresses that are good for one transfer
 * each. It listens on loopback once the first address is asked for.
 */
export class TransferServer {
  readonly #parts: Parts
  #listening: Promise<{ server: Server, url: string }> | undefined

  constructor (parts: Parts) {
    this.#parts = parts
  }

  /** Where content is sent or fetched. The answer to what was sent is the id, with the MD5 as ETag. */
  async urlFor (grant: TransferGrant): Promise<string> {
    this.#listening ??= this.#listen()
    const { url } = await this.#listening
    return `${url}/${await this.#parts.authority.transferToken(grant)}`
  }

  async close (): Promise<void> {
    const listening = await this.#listening
    listening?.server.close()
    listening?.server.closeAllConnections()
  }

  async #listen () {
    const server = createServer((request, response) => {
      this.#serve(request, response).catch((error: unknown) => {
        this.#parts.log.warn({ err: error }, 'emulator: a transfer of a file\'s content failed')
        response.destroy()
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    server.unref()
    return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
  }

  async #serve (request: IncomingMessage, response: ServerResponse): Promise<void> {
    const grant = await this.#parts.authority.transferGrant((request.url ?? '').slice(1))
    if (grant === undefined || grant.method !== request.method) return answer(response, 403, 'This address is not good for that')
    await (grant.method === 'PUT' ? this.#receive(grant, request, response) : this.#send(grant, response))
  }

  async #receive ({ id, length }: TransferGrant, request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const { md5 } = await this.#parts.contents.receive(id, request, length)
      response.setHeader('ETag', `"${md5}"`)
      answer(response, 200, id)
    } catch (error) {
      if (error instanceof TooLarge) return answer(response, 413, error.message)
      if (isNoSpace(error)) return answer(response, 507, noSpaceText)
      if (request.destroyed && !request.complete) return
      throw error
    }
  }

  async #send ({ id, start, length }: TransferGrant, response: ServerResponse): Promise<void> {
    const file = createReadStream(this.#parts.contents.pathOf(id), { start, end: start + length - 1 })
    const opened = await once(file, 'open').then(() => true, () => false)
    if (!opened) return answer(response, 404, 'It is no longer there')
    response.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Length': length })
    // Whoever has fetched enough may go.
    await pipeline(file, response).catch((error) => { if (error.code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error })
  }
}

function answer (response: ServerResponse, code: number, text: string): void {
  response.writeHead(code, { 'Content-Type': 'text/plain', ...code >= 400 && { Connection: 'close' } })
  response.end(text)
}
