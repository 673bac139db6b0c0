import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { whileConnected } from '../lib/connection.js'
import { errorAnswers } from '../schemas/common.js'
import { ExecEvents, ExecResult, ExecSpec } from '../schemas/exec.js'
import { SandboxParams } from '../schemas/sandbox.js'
import { inSandbox } from './errors.js'

/** Runs a command in a sandbox; the output is streamed as events, or collected into one JSON response. */
const exec: FastifyPluginAsyncTypebox = async (fastify) => {
  fastify.post('/:id/exec', {
    schema: {
      operationId: 'runCommand',
      summary: 'Run a command',
      tags: ['commands'],
      events: ExecEvents,
      params: SandboxParams,
      body: ExecSpec,
      errors: [...inSandbox, 'SECRET_NOT_FOUND', 'LIMIT_REACHED'],
      response: { 200: ExecResult, ...errorAnswers }
    }
  }, async (request, reply) => {
    const { account, body, log, params: { id } } = request
    const streams = request.wantsSse(true)
    const command = await fastify.sandboxes.exec(account, id, body, log)
    if (!streams) return await whileConnected(request, (signal) => command.collect(signal))

    const stream = reply.sse()
    const field = body.encoding === 'base64' ? 'base64' : 'text'
    try {
      const exit = await command.stream(stream.signal, (event, text) => stream.send({ event, data: { [field]: text } }))
      await stream.end({ event: 'exit', data: exit })
    } catch (error) {
      await stream.end({ event: 'error', data: request.report(error) })
    }
  })
}

export default exec
