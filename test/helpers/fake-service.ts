import type { Page } from 'playwright-core'

export const sandbox = {
  id: 'sb-fake',
  status: 'running',
  name: 'fake',
  createdAt: new Date().toISOString(),
  expiresAt: new Date(Date.now() + 3_000_000).toISOString(),
  image: 'local',
  volume: { name: 'workspace', mountPath: '/workspace' },
  s3: { bucket: 'bucket', keyPrefix: 'one/' },
  workdir: '/workspace',
  tags: {},
  exitCode: null,
  activeRun: null
}

/** What the service would answer to a path below `/api`: JSON, or a status with an error body. */
export type Answers = Record<string, unknown>

/**
 * A page whose service says what a test wants it to: for what only a hostile or very busy service would say. Streams
 * are fed from the page with `emit(path, event, data)` and broken off with `cut(path)`; what asked for them is `sent`.
 */
export async function fakeService (page: Page, answers: Answers) {
  await page.route('**/api/**', async (route) => {
    const request = route.request()
    const path = new URL(request.url()).pathname
    const answer = answers[`${request.method()} ${path}`]
    if (answer === undefined) return await route.fulfill({ status: 404, json: { code: 'NOT_FOUND', message: path } })
    if (typeof answer === 'string') return await route.fulfill({ body: answer, contentType: 'application/octet-stream' })
    const { statusCode } = answer as { statusCode?: number }
    await route.fulfill({ status: statusCode ?? 200, json: answer })
  })
  await page.addInitScript(`
    const streams = new Map()
    window.sent = []
    const real = window.fetch
    window.fetch = async (path, init = {}) => {
      if (!String(init.headers?.accept).includes('event-stream')) return await real(path, init)
      if (init.body) sent.push(JSON.parse(init.body))
      const body = new ReadableStream({ start: (controller) => streams.set(path, controller) })
      init.signal?.addEventListener('abort', () => { try { streams.get(path).error(new Error('aborted')) } catch {} })
      return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
    }
    const encoder = new TextEncoder()
    let id = 0
    window.emit = (path, event, data) => streams.get(path).enqueue(
      encoder.encode('event: ' + event + '\\nid: ' + ++id + '\\ndata: ' + JSON.stringify(data) + '\\n\\n'))
    window.cut = (path) => streams.get(path).close()
    window.opened = (path) => streams.has(path)
    window.pwned = () => { window.wasPwned = true }
  `)
  const on = (path: string) => ({
    opened: async () => {
      while (!await page.evaluate(`opened(${JSON.stringify(path)})`)) await page.waitForTimeout(50)
    },
    emit: async (...events: [string, unknown][]) => {
      await page.evaluate(`for (const [event, data] of ${JSON.stringify(events)}) emit(${JSON.stringify(path)}, event, data)`)
    },
    cut: async () => { await page.evaluate(`cut(${JSON.stringify(path)})`) }
  })
  return { on }
}

/** What a signed-in page with one sandbox asks by itself. */
export function someAnswers (more: Answers = {}): Answers {
  return {
    'GET /api/modal/status': { configured: true, backend: 'modal', model: 'claude', account: 'acme' },
    'GET /api/modal/sandbox': { sandboxes: [sandbox], nextCursor: null },
    'GET /api/modal/volume': { volumes: [] },
    [`GET /api/modal/sandbox/${sandbox.id}`]: sandbox,
    [`GET /api/modal/sandbox/${sandbox.id}/claude`]: { runs: [] },
    [`GET /api/modal/sandbox/${sandbox.id}/sessions`]: { sessions: [] },
    [`GET /api/modal/sandbox/${sandbox.id}/sync`]: { active: false, last: null },
    [`GET /api/modal/sandbox/${sandbox.id}/ports`]: { ports: [] },
    [`GET /api/modal/sandbox/${sandbox.id}/permissions`]: { allow: [] },
    ...more
  }
}
