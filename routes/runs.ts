import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Account } from '../schemas/account.js'
import { errorAnswers } from '../schemas/common.js'
import {
  Cancellation, EventsHeaders, EventsPage, EventsQuery, NothingMore, PermissionAnswer, PermissionParams, RunEvents,
  runBodyLimit, RunHeaders, RunList, RunParams, RunSpec, RunView
} from '../schemas/run.js'
import { SandboxParams } from '../schemas/sandbox.js'
import type { Run } from '../services/runs/run.js'
import { ofRun } from './errors.js'

/** Runs of Claude in a sandbox: start, follow, answer what Claude asks, cancel. */
const runs: FastifyPluginAsyncTypebox = async (fastify) => {
  const { sandboxes, runs } = fastify

  fastify.post('/:id/claude', {
    bodyLimit: runBodyLimit,
    schema: {
      operationId: 'runPrompt',
      summary: 'Run a prompt',
      tags: ['runs'],
      events: RunEvents,
      headers: RunHeaders,
      params: SandboxParams,
      body: RunSpec,
      errors: [
        ...ofRun, 'NETWORK_BLOCKED', 'NO_CLAUDE', 'RUN_ACTIVE', 'SANDBOX_EXPIRING', 'LIMIT_REACHED', 'CLAUDE_FAILED',
        'SESSION_NOT_FOUND'
      ],
      response: { 202: RunView, ...errorAnswers }
    }
  }, async (request, reply) => {
    const isAsync = request.prefersAsync()
    const streams = !isAsync && request.wantsSse(true)
    const owned = await sandboxes.find(request.account, request.params.id)
    const run = await runs.start(request.account, owned, request.body, request.log)
    sandboxes.noteUse(owned)
    request.ids.runId = run.id
    reply.header('location', `/api/modal/sandbox/${owned.id}/claude/${run.id}`)
    if (isAsync) reply.header('preference-applied', 'respond-async')
    if (!streams) return reply.code(202).send(run.view())
    await streamRun(run, 0, request, reply)
  })

  fastify.get('/:id/claude', {
    schema: {
      operationId: 'listRuns',
      summary: 'List the runs of a sandbox',
      tags: ['runs'],
      params: SandboxParams,
      errors: ofRun,
      response: { 200: RunList, ...errorAnswers }
    }
  }, async ({ account, params: { id } }) => {
    const found = await runs.list(await sandboxes.find(account, id))
    return { runs: await Promise.all(found.map(async (run) => await runs.view(run))) }
  })

  fastify.get('/:id/claude/:runId', {
    schema: {
      operationId: 'getRun',
      summary: 'Get a run',
      tags: ['runs'],
      params: RunParams,
      errors: ofRun,
      response: { 200: RunView, ...errorAnswers }
    }
  }, async (request) => await runs.view(await find(request)))

  fastify.get('/:id/claude/:runId/events', {
    schema: {
      operationId: 'streamEvents',
      summary: 'Follow or replay the events of a run',
      tags: ['runs'],
      events: RunEvents,
      headers: EventsHeaders,
      params: RunParams,
      querystring: EventsQuery,
      errors: [...ofRun, 'LIMIT_REACHED'],
      response: { 200: EventsPage, 204: NothingMore, ...errorAnswers }
    }
  }, async (request, reply) => {
    const after = request.query.after ?? lastEventId(request)
    const streams = request.wantsSse(true)
    const { account, params: { id, runId } } = request
    const run = streams
      ? await runs.getToFollow(await sandboxes.find(account, id), runId, after)
      : await find(request)
    if (streams) {
      if (await hasReadAll(run, request)) return await reply.code(204).send(null)
      return await streamRun(run, after, request, reply)
    }
    const { events, done } = await run.page(after)
    // The events are JSON already, and may be nested too deeply for a serializer.
    const list = events.map(({ id, event, json }) => `{"id":${id},"event":"${event}","data":${json}}`).join(',')
    const next = events.at(-1)?.id ?? after
    const json = `{"events":[${list}],"next":${next},"done":${done}}`
    return await reply.type('application/json').send(Buffer.from(json) as never)
  })

  fastify.post('/:id/claude/:runId/cancel', {
    schema: {
      operationId: 'cancelRun',
      summary: 'Cancel a run',
      tags: ['runs'],
      params: RunParams,
      errors: ofRun,
      response: { 200: Cancellation, ...errorAnswers }
    }
  }, async (request) => {
    const { account, params: { id, runId } } = request
    const { run, durationMs } = await runs.cancelById(await sandboxes.find(account, id), runId)
    return { ...run.view(), left: 0, durationMs }
  })

  fastify.post('/:id/claude/:runId/permissions/:permissionId', {
    schema: {
      operationId: 'answerPermission',
      summary: 'Answer what Claude asks',
      tags: ['runs'],
      params: PermissionParams,
      body: PermissionAnswer,
      errors: [...ofRun, 'PERMISSION_NOT_FOUND', 'PERMISSION_RESOLVED', 'SETTINGS_UNREADABLE'],
      response: { 200: RunView, ...errorAnswers }
    }
  }, async (request) => await runs.answer(await find(request), request.params.permissionId, request.body))

  /** Finds the sandbox by its account first, so that a guessed run id reaches no other account's run. */
  async function find ({ account, params }: { account: Account, params: RunParams }): Promise<Run> {
    return await runs.get(await sandboxes.find(account, params.id), params.runId)
  }
}

async function streamRun (run: Run, after: number, request: FastifyRequest, reply: FastifyReply) {
  const detach = run.addReader()
  let warning: NodeJS.Timeout | undefined
  try {
    const sse = reply.sse()
    const { expiresAt, warnAt } = run.expiry
    if (run.completion === undefined) {
      const warn = () => { sse.send({ event: 'sandbox.expiring', data: { expiresAt } }) }
      warning = setTimeout(warn, Math.max(0, warnAt - Date.now())).unref()
    }
    try {
      for await (const batch of run.read(after, sse.signal)) await sse.sendBatch(batch)
      await sse.end()
    } catch (error) {
      // The stream is open, so the error can only be sent as an event; the client may reconnect.
      await sse.end({ event: 'error', data: request.report(error) })
    }
  } finally {
    clearTimeout(warning)
    detach()
  }
}

/** An `EventSource` comes back after the end of a stream, for ever; only 204 stops it. */
async function hasReadAll (run: Run, request: FastifyRequest): Promise<boolean> {
  if (run.completion === undefined || request.headers['last-event-id'] === undefined) return false
  return (await run.page(lastEventId(request))).events.length === 0
}

function lastEventId ({ headers }: FastifyRequest): number {
  const id = Number(headers['last-event-id'] ?? 0)
  return Number.isSafeInteger(id) && id >= 0 ? id : 0
}

export default runs
