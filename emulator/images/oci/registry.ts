import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, EnvHttpProxyAgent, request, type Dispatcher } from 'undici'
import { maxDocumentBytes, readDocument } from './blob.js'
import { isObject } from './manifest.js'
import { isLoopback, type Reference } from './reference.js'
import { ImageError } from './tar.js'

export interface Credentials { username: string, password: string }

const manifestTypes = [
  'application/vnd.oci.image.index.v1+json', 'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json', 'application/vnd.docker.distribution.manifest.v2+json'
].join(', ')
const timeouts = { connect: { timeout: 10_000 }, headersTimeout: 30_000, bodyTimeout: 30_000 }
const maxRedirects = 5
const attempts = 4
const firstPauseMs = 250
const maxPauseMs = 20_000
/** Those that another attempt meets again. */
const finalCodes = new Set(['ENOTFOUND', 'ECONNREFUSED', 'ERR_TLS_CERT_ALTNAME_INVALID', 'CERT_HAS_EXPIRED', 'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'ERR_SSL_WRONG_VERSION_NUMBER'])

type Answer = Pick<Dispatcher.ResponseData, 'statusCode' | 'headers' | 'body'>

/** A failure that another attempt may not meet. */
class Passing extends Error {
  readonly pauseMs: number | undefined

  constructor (message: string, pauseMs?: number) {
    super(message)
    this.pauseMs = pauseMs
  }
}

/**
 * One repository of a registry that speaks Docker's protocol (version 2). Plain HTTP is spoken to this machine's own
 * addresses only. Credentials go to the registry itself and to the token service that it names, never along a redirect
 * to another host.
 */
export class Registry {
  readonly #reference: Reference
  readonly #credentials: Credentials | undefined
  readonly #signal: AbortSignal
  readonly #agent: Dispatcher
  #authorization: string | undefined

  constructor (reference: Reference, credentials: Credentials | undefined, signal: AbortSignal) {
    this.#reference = reference
    this.#credentials = credentials
    this.#signal = signal
    // This machine is not behind its proxy.
    this.#agent = reference.isLoopback ? new Agent(timeouts) : new EnvHttpProxyAgent(timeouts)
  }

  async close (): Promise<void> {
    await this.#agent.destroy()
  }

  /** A manifest by tag or digest. @throws {ImageError} */
  async manifest (version: string): Promise<Buffer> {
    return await this.#retrying(async () => {
      const { body } = await this.#get(`manifests/${version}`, { accept: manifestTypes })
      return await readDocument(body, 'the manifest')
    })
  }

  /**
   * A blob, in pieces; an interrupted transfer goes on where it stopped. What has been yielded is valid as far as the
   * connection goes: the digest is for the caller to check.
   * @throws {ImageError} also when it is not as long as it should be
   */
  async * blob (digest: string, size: number): AsyncGenerator<Buffer> {
    for (let [at, failures] = [0, 0]; at < size;) {
      try {
        // An answer with everything begins at 0 again.
        let skip = 0
        const { body, statusCode, headers } = await this.#get(`blobs/${digest}`, at > 0 ? { range: `bytes=${at}-` } : {})
        if (statusCode !== 206) skip = at
        else if (!String(headers['content-range']).startsWith(`bytes ${at}-`)) throw new ImageError('the registry answers with another part than asked for')
        for await (const chunk of body as AsyncIterable<Buffer>) {
          const rest = chunk.subarray(Math.min(skip, chunk.length))
          skip -= chunk.length - rest.length
          at += rest.length
          if (at > size) throw new ImageError(`${digest} is longer than the manifest says`)
          if (rest.length > 0) {
            yield rest
            failures = 0
          }
        }
        if (at < size) throw new Passing(`${digest} ended early`)
      } catch (error) {
        await this.#pause(error, ++failures)
      }
    }
  }

  async #retrying<T> (attempt: () => Promise<T>): Promise<T> {
    for (let failures = 0; ;) {
      try {
        return await attempt()
      } catch (error) {
        await this.#pause(error, ++failures)
      }
    }
  }

  /** Waits before another attempt. @throws when there is to be none */
  async #pause (error: unknown, failures: number): Promise<void> {
    if (error instanceof ImageError) throw error
    this.#signal.throwIfAborted()
    const { code, message } = error as NodeJS.ErrnoException
    if (failures >= attempts || finalCodes.has(code ?? '')) {
      throw new ImageError(`${this.#reference.host} cannot be reached, or breaks off: ${message}`, { cause: error })
    }
    const pause = error instanceof Passing ? error.pauseMs : undefined
    await sleep(Math.min(pause ?? firstPauseMs * 2 ** failures, maxPauseMs), undefined, { signal: this.#signal })
  }

  /** Answers with 200 or 206 only. */
  async #get (path: string, headers: Record<string, string>): Promise<Answer> {
    const { host, repository, isLoopback } = this.#reference
    const url = new URL(`${isLoopback ? 'http' : 'https'}://${host}/v2/${repository}/${path}`)
    let answer = await this.#follow(url, headers)
    if (answer.statusCode === 401) {
      await drop(answer)
      this.#authorization = await this.#authorize(String(answer.headers['www-authenticate'] ?? ''))
      answer = await this.#follow(url, headers)
    }
    if (answer.statusCode === 200 || answer.statusCode === 206) return answer
    throw await this.#refusal(answer)
  }

  async #follow (start: URL, headers: Record<string, string>): Promise<Answer> {
    let url = start
    for (let redirects = 0; redirects <= maxRedirects; redirects++) {
      const authorization = url.origin === start.origin ? this.#authorization : undefined
      const answer = await this.#send(url, { ...headers, ...authorization !== undefined && { authorization } })
      if (![301, 302, 303, 307, 308].includes(answer.statusCode)) return answer
      await drop(answer)
      url = this.#allowed(String(answer.headers['location']), url.href, 'redirects to')
    }
    throw new ImageError(`${start.host} redirects too often`)
  }

  /** Only a registry on this machine may lead to plain HTTP, and to this machine. */
  #allowed (text: string, base: string | undefined, what: string): URL {
    if (!URL.canParse(text, base)) throw new ImageError(`${this.#reference.host} ${what} what is not an address`)
    const url = new URL(text, base)
    const isLocal = isLoopback(url.hostname)
    const isAllowed = this.#reference.isLoopback ? url.protocol === 'https:' || (isLocal && url.protocol === 'http:') : url.protocol === 'https:' && !isLocal
    if (!isAllowed) throw new ImageError(`${this.#reference.host} ${what} ${url.origin}, which is not followed: it must be https, and may be this machine only if the registry is`)
    url.username = url.password = ''
    return url
  }

  async #send (url: URL, headers: Record<string, string>): Promise<Answer> {
    const answer = await request(url, { dispatcher: this.#agent, headers: { 'user-agent': 'modal-emulator', ...headers }, signal: this.#signal })
    const { statusCode } = answer
    if (statusCode !== 429 && statusCode < 500) return answer
    await drop(answer)
    const seconds = Number(answer.headers['retry-after'])
    throw new Passing(`it answers ${statusCode}`, seconds > 0 ? seconds * 1000 : undefined)
  }

  /** What the registry asks for with its challenge: a token of the service that it names, or the credentials. */
  async #authorize (challenge: string): Promise<string> {
    const { host, repository } = this.#reference
    const basic = this.#credentials && `Basic ${Buffer.from(`${this.#credentials.username}:${this.#credentials.password}`).toString('base64')}`
    const [, scheme = ''] = /^\s*(\w+)/.exec(challenge) ?? []
    if (/^basic$/i.test(scheme)) {
      if (basic === undefined || this.#authorization === basic) throw this.#denied()
      return basic
    }
    if (!/^bearer$/i.test(scheme)) throw new ImageError(`${host} asks for a kind of sign-in that is not supported: '${scheme.slice(0, 20)}'`)
    const { realm = '', service } = Object.fromEntries([...challenge.matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name!, value!]))
    const url = this.#allowed(realm, undefined, 'names a token service at')
    if (service !== undefined) url.searchParams.set('service', service)
    url.searchParams.set('scope', `repository:${repository}:pull`)
    const answer = await this.#send(url, basic === undefined ? {} : { authorization: basic })
    if (answer.statusCode === 401 || answer.statusCode === 403) {
      await drop(answer)
      throw this.#denied()
    }
    if (answer.statusCode !== 200) throw await this.#refusal(answer)
    const { token, access_token: accessToken } = await json(answer)
    const found = token ?? accessToken
    if (typeof found !== 'string' || !/^[\x21-\x7e]+$/.test(found)) throw new ImageError(`the token service of ${host} answers without a token`)
    return `Bearer ${found}`
  }

  async #refusal (answer: Answer): Promise<ImageError> {
    const { host, repository, version } = this.#reference
    const reasons = (await json(answer).catch(() => ({ errors: [] })))['errors']
    const [first] = Array.isArray(reasons) ? reasons : []
    const reason = isObject(first) ? ` (${[first['code'], first['message']].filter((part) => typeof part === 'string').join(': ').slice(0, 300)})` : ''
    if (answer.statusCode === 401 || answer.statusCode === 403) return this.#denied(reason)
    if (answer.statusCode === 404) return new ImageError(`${host} has no ${repository}:${version}, or a part of it is missing${reason}`)
    return new ImageError(`${host} answers with the status ${answer.statusCode}${reason}`)
  }

  #denied (reason = ''): ImageError {
    const { host, repository } = this.#reference
    return new ImageError(this.#credentials === undefined
      ? `${host} denies access to ${repository}: it does not exist, or needs a secret with REGISTRY_USERNAME and REGISTRY_PASSWORD${reason}`
      : `${host} denies access to ${repository} with the secret's REGISTRY_USERNAME and REGISTRY_PASSWORD${reason}`)
  }
}

async function drop ({ body }: Answer): Promise<void> {
  await body.dump({ limit: maxDocumentBytes }).catch(() => {})
}

async function json ({ body }: Answer): Promise<Record<string, unknown>> {
  const value: unknown = JSON.parse((await readDocument(body as AsyncIterable<Buffer>, 'the answer')).toString())
  return isObject(value) ? value : {}
}
