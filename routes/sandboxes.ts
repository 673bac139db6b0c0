import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { errorAnswers } from '../schemas/common.js'
import { Creation, CreationParams } from '../schemas/creation.js'
import {
  CreatedSandbox, CreateEvents, CreateHeaders, DetailsEvents, DetailsHeaders, ListQuery, SandboxDetails, SandboxPage,
  SandboxParams, SandboxSpec, TerminateQuery, Termination
} from '../schemas/sandbox.js'
import { ReloadedVolume } from '../schemas/volume.js'
import { AppError } from '../errors.js'
import type { SseStream } from '../lib/sse.js'
import type { CreateOptions } from '../services/sandboxes/create.js'
import { forAccount, inSandbox, ofRun, ofSync } from './errors.js'

/** The account's sandboxes: create, list, get, terminate (6.1-6.5). */
const sandboxes: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.post('/', {
    schema: {
      operationId: 'createSandbox',
      summary: 'Create a sandbox',
      tags: ['sandboxes'],
      events: CreateEvents,
      body: SandboxSpec,
      headers: CreateHeaders,
      errors: [
        ...ofSync, 'SANDBOX_NAME_TAKEN', 'IDEMPOTENCY_KEY_REUSED', 'VOLUME_IN_USE', 'VOLUME_VERSION', 'IMAGE_BUILD_FAILED',
        'CLONE_FAILED', 'NOT_SUPPORTED', 'INVALID_SANDBOX', 'LIMIT_REACHED', 'CLAUDE_FAILED', 'CREATE_INTERRUPTED'
      ],
      response: { 200: CreatedSandbox, 202: Creation, ...errorAnswers }
    }
  }, async (request, reply) => {
    const idempotencyKey = request.headers['idempotency-key']
    const options = { log: request.log, ...(idempotencyKey !== undefined && { idempotencyKey }) }
    const create = (more?: Partial<CreateOptions>) =>
      fastify.sandboxes.create(request.account, request.body, { ...options, ...more })
    if (request.prefersAsync()) {
      const creation = await fastify.sandboxes.startCreation(request.account, request.body, options)
      reply.header('location', `/api/modal/sandbox/creations/${creation.id}`)
      return await reply.code(202).header('preference-applied', 'respond-async').send(creation)
    }
    if (!request.wantsSse(false)) return await create()

    // Opened by the first event, so that an error before any step is a plain error response.
    let stream: SseStream | undefined
    const send = (event: string, data: unknown) => { (stream ??= reply.sse()).send({ event, data }) }
    try {
      const sandbox = await create({
        onStep: (step) => send('step', step), onBuildLog: (text) => send('log', { text })
      })
      await stream?.end({ event: 'sandbox', data: sandbox })
    } catch (error) {
      if (stream === undefined) throw error
      await stream.end({ event: 'error', data: request.report(error) })
    }
  })

  fastify.get('/', {
    schema: {
      operationId: 'listSandboxes',
      summary: 'List your running sandboxes',
      tags: ['sandboxes'],
      querystring: ListQuery,
      errors: forAccount,
      response: { 200: SandboxPage, ...errorAnswers }
    }
  }, async (request) => await fastify.sandboxes.list(request.account, request.query))

  fastify.get('/creations/:creationId', {
    schema: {
      operationId: 'getCreation',
      summary: 'Get how far an asynchronous create is',
      tags: ['sandboxes'],
      params: CreationParams,
      errors: [...forAccount, 'CREATION_NOT_FOUND'],
      response: { 200: Creation, ...errorAnswers }
    }
  }, async ({ account, params }) => await fastify.sandboxes.creation(account, params.creationId))

  fastify.get('/:id', {
    schema: {
      operationId: 'getSandbox',
      summary: 'Get a sandbox, or follow what becomes of it',
      tags: ['sandboxes'],
      events: DetailsEvents,
      params: SandboxParams,
      headers: DetailsHeaders,
      errors: [...ofRun, 'LIMIT_REACHED'],
      response: { 200: SandboxDetails, ...errorAnswers }
    }
  }, async (request, reply) => {
    const { account, params: { id } } = request
    const look = async (): Promise<SandboxDetails> => {
      const owned = await fastify.sandboxes.find(account, id)
      const looking = fastify.sandboxes.get(account, id)
      const isRunning = looking.then(({ status }) => status === 'running')
      const active = fastify.runs.active(owned, isRunning)
      // What Modal says of the sandbox itself comes first.
      active.catch(() => {})
      const sandbox = await looking
      return { ...sandbox, activeRun: sandbox.status === 'running' ? await active ?? null : null }
    }
    if (!request.wantsSse(false)) return await look()
    const owned = await fastify.sandboxes.find(account, id)
    const sse = reply.sse()
    try {
      const onActivity = (listener: () => void) => fastify.runs.onActivity(owned, listener)
      for await (const sandbox of fastify.sandboxes.follow(owned, { look, onActivity, signal: sse.signal })) {
        await sse.send({ event: 'sandbox', data: sandbox })
      }
      await sse.end()
    } catch (error) {
      await sse.end({ event: 'error', data: request.report(error) })
    }
  })

  fastify.post('/:id/volume/reload', {
    schema: {
      operationId: 'reloadVolume',
      summary: 'Show what other sandboxes have stored on the volume',
      tags: ['volumes'],
      params: SandboxParams,
      errors: [...inSandbox, 'NO_VOLUME', 'VOLUME_BUSY', 'RUN_ACTIVE', 'SYNC_ACTIVE'],
      response: { 200: ReloadedVolume, ...errorAnswers }
    }
  }, async ({ account, params: { id } }) => {
    const owned = await fastify.sandboxes.open(account, id)
    // While Modal reloads a volume it looks empty.
    const run = await fastify.runs.active(owned)
    if (run !== undefined) throw new AppError('RUN_ACTIVE', { details: { runId: run.runId } })
    return await fastify.sync.undisturbed(owned, () => fastify.sandboxes.reloadVolume(owned))
  })

  fastify.delete('/:id', {
    schema: {
      operationId: 'endSandbox',
      summary: 'End a sandbox',
      tags: ['sandboxes'],
      params: SandboxParams,
      querystring: TerminateQuery,
      errors: [...ofSync, 'RUN_NOT_ENDED', 'WORKSPACE_NOT_STORED'],
      response: { 200: Termination, ...errorAnswers }
    }
  }, async (request) => {
    const { account, log, query, params: { id } } = request
    return await fastify.sandboxes.terminate(account, id, {
      log,
      sync: query.sync,
      force: query.force,
      stop: (owned) => fastify.runs.endAll(owned)
    })
  })
}

export default sandboxes
