import { createApi, type Api, type ApiOptions } from './api.js'
import { Runs } from './runs.js'
import { Sandboxes } from './sandboxes.js'

export interface ClientOptions extends ApiOptions {
  /** How long a stream tries to come back when nothing is heard of the service. Five minutes by default. */
  retryForMs?: number
}

export interface Client {
  /** Every route, one request each: `client.api.GET('/api/modal/sandbox')`; `unwrap` makes errors of failures. */
  api: Api
  sandboxes: Sandboxes
  runs: Runs
}

/** A client of the service at `url`. It needs nothing but `fetch`, so it works in Node and in browsers. */
export function createClient ({ retryForMs = 5 * 60_000, ...options }: ClientOptions): Client {
  const api = createApi(options)
  return { api, sandboxes: new Sandboxes(api, retryForMs), runs: new Runs(api, retryForMs) }
}
