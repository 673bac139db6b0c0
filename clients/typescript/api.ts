import createFetchClient, { type Client } from 'openapi-fetch'
import { unreachable } from './errors.js'
import type { paths } from './schema.js'

/** Every route of the service, by method and path; see openapi-fetch. */
export type Api = Client<paths, 'application/json' | 'application/octet-stream'>

type Headers = Record<string, string>

export interface ApiOptions {
  /** Where the service is, such as `https://agents.example.com`. */
  url: string
  /** Sent with every request: `{ authorization: 'Bearer <key>' }`. A function is asked before each request. */
  headers?: Headers | (() => Headers | Promise<Headers>)
  /** What sends requests; `fetch` by default. */
  fetch?: (request: Request) => Promise<Response>
}

/** Spread, as Node's types don't know it. */
const notCached = { cache: 'no-store' } as const

export function createApi ({ url, headers = {}, fetch }: ApiOptions): Api {
  const api: Api = createFetchClient({
    baseUrl: url,
    // Where a route can answer with a stream, it is asked for one.
    headers: { accept: 'application/json' },
    ...notCached,
    ...fetch && { fetch }
  })
  api.use({
    async onRequest ({ request }) {
      const own = typeof headers === 'function' ? await headers() : headers
      for (const [name, value] of Object.entries(own)) request.headers.set(name, value)
    },
    onError ({ request, error }) {
      return request.signal.aborted ? undefined : unreachable(error)
    }
  })
  return api
}

/** Of a request that is answered with events. */
export function streaming (signal: AbortSignal | undefined) {
  return { parseAs: 'stream', headers: { accept: 'text/event-stream' }, ...signal && { signal } } as const
}
