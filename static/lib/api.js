import { words } from './words.js'

/** The service's texts are for programs, too: a person knows neither headers nor patterns. */
const hints = { UNAUTHENTICATED: words.errors.signInHint }

function plainWords (message) {
  return message.replace(/^(.*) must match pattern ".*"$/s, (_whole, name) => words.errors.formNotAllowed(name))
    .replace(/^(.*) is not an allowed name: it must match .*$/s, (_whole, name) => words.errors.nameNotAllowed(name))
}

/** A failed request, with the fields of the service's error body (7.7). */
export class ApiError extends Error {
  constructor (body, status = 0) {
    super(plainWords(body.message || words.errors.unknown))
    this.status = status
    this.code = body.code
    this.hint = hints[body.code] ?? body.hint
    this.step = body.step
    this.requestId = body.requestId
    /** The whole body, with the extra fields of some errors, such as the active run. */
    this.details = body
  }

  /** Whether the same request may succeed when it is simply repeated. */
  get transient () {
    return this.status === 0 || this.status === 429 || this.status >= 500
  }

  /** Whether the service itself answered; otherwise the outcome of the request is unknown. */
  get fromService () {
    return this.status > 0 && !this.code?.startsWith('HTTP_')
  }

  /** Whether the sandbox is gone, so that only a new one helps (7.8). */
  get sandboxEnded () {
    return this.code === 'SANDBOX_ENDED' || this.code === 'SANDBOX_NOT_FOUND'
  }
}

/** Converts anything thrown into an error that can be shown. */
export function asApiError (error) {
  if (error instanceof ApiError) return error
  return new ApiError({ message: error.message, hint: words.errors.reloadHint })
}

export function offline () {
  return new ApiError({
    code: 'OFFLINE',
    message: words.errors.offline,
    hint: words.errors.offlineHint
  })
}

/** Sends a request and returns the response, or throws an ApiError. The browser adds the session cookie. */
export async function send (method, path, { json, body, headers = {}, accept = 'application/json', signal } = {}) {
  const response = await fetch(path, {
    method,
    headers: { accept, ...(json !== undefined && { 'content-type': 'application/json' }), ...headers },
    body: json === undefined ? body : JSON.stringify(json),
    cache: 'no-store',
    signal
  }).catch((error) => {
    if (signal?.aborted) throw error
    throw offline()
  })
  if (!response.ok) throw await readError(response)
  return response
}

export async function getJson (path, options) {
  return (await send('GET', path, options)).json()
}

async function readError (response) {
  const body = await response.json().catch(() => undefined)
  if (response.status === 401) document.dispatchEvent(new CustomEvent('signed-out'))
  if (typeof body?.message === 'string') return new ApiError(body, response.status)
  // The response is not from the service but from something in front of it.
  return new ApiError({
    code: `HTTP_${response.status}`,
    message: words.errors.status(response.status),
    hint: words.errors.statusHint
  }, response.status)
}

const sandboxes = '/api/modal/sandbox'
const urlOf = (id, ...parts) => [sandboxes, ...[id, ...parts].map(encodeURIComponent)].join('/')
const query = (path, fields) => `${path}?${new URLSearchParams(fields)}`

export const paths = {
  status: '/api/modal/status',
  session: '/api/session',
  sandboxes,
  volumes: '/api/modal/volume',
  sandbox: (id) => urlOf(id),
  forcedEnd: (id) => query(urlOf(id), { force: true }),
  claude: (id) => urlOf(id, 'claude'),
  run: (id, runId) => urlOf(id, 'claude', runId),
  events: (id, runId) => urlOf(id, 'claude', runId, 'events'),
  cancel: (id, runId) => urlOf(id, 'claude', runId, 'cancel'),
  permissions: (id) => urlOf(id, 'permissions'),
  permission: (id, runId, permissionId) => urlOf(id, 'claude', runId, 'permissions', permissionId),
  sessions: (id) => urlOf(id, 'sessions'),
  conversation: (id, sessionId) => urlOf(id, 'sessions', sessionId),
  messages: (id, sessionId, fields) => query(urlOf(id, 'sessions', sessionId), fields),
  files: (id, fields) => query(urlOf(id, 'files'), fields),
  content: (id, path) => query(`${urlOf(id, 'files')}/content`, { path }),
  changes: (id, ...action) => urlOf(id, 'changes', ...action),
  difference: (id, fields) => query(urlOf(id, 'changes', 'diff'), fields),
  ports: (id) => urlOf(id, 'ports'),
  port: (id, port) => urlOf(id, 'ports', port),
  sync: (id) => urlOf(id, 'sync')
}
