/** A failed request, in the words of the service's error body (7.7). */
export class ApiError extends Error {
  constructor (body, status = 0) {
    super(body.message || 'Something went wrong.')
    this.status = status
    this.code = body.code
    this.hint = body.hint
    this.step = body.step
    this.requestId = body.requestId
    /** What some errors add, for example the active run. */
    this.details = body
  }

  /** Whether the same request can succeed later without anybody changing anything. */
  get passing () {
    return this.status === 0 || this.status === 429 || this.status >= 500
  }

  /** Whether the service itself said so: else nobody knows what became of the request. */
  get answered () {
    return this.status > 0 && !this.code?.startsWith('HTTP_')
  }

  /** The sandbox is gone: nothing but a new one helps (7.8). */
  get sandboxEnded () {
    return this.code === 'SANDBOX_ENDED' || this.code === 'SANDBOX_NOT_FOUND'
  }
}

/** Whatever was thrown, as something to show. */
export function asApiError (error) {
  if (error instanceof ApiError) return error
  return new ApiError({ message: error.message, hint: 'Reload the page, then try again.' })
}

export function offline () {
  return new ApiError({
    code: 'OFFLINE',
    message: 'The service can not be reached.',
    hint: 'Check that it is running and that you are online, then try again.'
  })
}

/** Sends a request and gives the response, or throws an ApiError. The session cookie comes along by itself. */
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
  // Something in front of the service answered.
  return new ApiError({
    code: `HTTP_${response.status}`,
    message: `The service answered with status ${response.status}.`,
    hint: 'Try again in a moment.'
  }, response.status)
}

const sandboxes = '/api/modal/sandbox'
const of = (id, ...parts) => [sandboxes, ...[id, ...parts].map(encodeURIComponent)].join('/')
const query = (path, fields) => `${path}?${new URLSearchParams(fields)}`

export const paths = {
  status: '/api/modal/status',
  session: '/api/session',
  sandboxes,
  sandbox: (id) => of(id),
  claude: (id) => of(id, 'claude'),
  run: (id, runId) => of(id, 'claude', runId),
  events: (id, runId) => of(id, 'claude', runId, 'events'),
  cancel: (id, runId) => of(id, 'claude', runId, 'cancel'),
  permission: (id, runId, permissionId) => of(id, 'claude', runId, 'permissions', permissionId),
  sessions: (id) => of(id, 'sessions'),
  messages: (id, sessionId, fields) => query(of(id, 'sessions', sessionId), fields),
  files: (id, fields) => query(of(id, 'files'), fields),
  content: (id, path) => query(`${of(id, 'files')}/content`, { path }),
  sync: (id) => of(id, 'sync')
}
