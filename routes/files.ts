import { posix } from 'node:path'
import { Type } from '@sinclair/typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import type { Readable } from 'node:stream'
import { AppError } from '../errors.js'
import { whileConnected } from '../lib/connection.js'
import { ErrorAnswer } from '../schemas/common.js'
import { FileEntry, FileListing, FileQuery, FilesQuery } from '../schemas/file.js'
import { SandboxParams } from '../schemas/sandbox.js'

const Content = Type.Unsafe<Readable>({ type: 'string', format: 'binary' })

/** The files of a sandbox: look, fetch, put, remove. Contents are streamed both ways. */
const files: FastifyPluginAsyncTypebox = async (fastify) => {
  const errors = { '4xx': ErrorAnswer, '5xx': ErrorAnswer }
  const access = ({ account, params, log }: FastifyRequest, signal: AbortSignal) =>
    ({ account, id: (params as SandboxParams).id, log, signal })

  fastify.addContentTypeParser('application/octet-stream', (_request, payload, done) => { done(null, payload) })

  fastify.get('/:id/files', {
    schema: { params: SandboxParams, querystring: FilesQuery, response: { 200: FileListing, ...errors } }
  }, async (request) => {
    const { path = '.', since } = request.query
    return await whileConnected(request, (signal) =>
      fastify.files.list(access(request, signal), path, since === undefined ? undefined : new Date(since)))
  })

  fastify.get('/:id/files/content', {
    schema: { params: SandboxParams, querystring: FileQuery, response: { 200: Content, ...errors } }
  }, async (request, reply) => {
    const { path } = request.query
    const { size, modifiedAt, body } = await whileConnected(request, (signal) =>
      fastify.files.read(access(request, signal), path))
    // Whatever it holds, a browser saves it: nothing of a sandbox is ever a page of this site.
    return await reply
      .header('content-type', 'application/octet-stream')
      .header('content-disposition', `attachment; filename*=UTF-8''${encodeName(posix.basename(path))}`)
      .header('content-length', size)
      .header('last-modified', modifiedAt.toUTCString())
      .header('cache-control', 'no-store')
      .send(body)
  })

  fastify.put('/:id/files/content', {
    schema: { params: SandboxParams, querystring: FileQuery, response: { 200: FileEntry, ...errors } }
  }, async (request) => {
    const size = Number(request.headers['content-length'])
    // Without it, the sandbox could not tell a part of a file from the whole.
    if (!Number.isSafeInteger(size)) throw new AppError('BAD_REQUEST', { message: 'headers.content-length is required' })
    if (request.headers['content-type']?.split(';')[0] !== 'application/octet-stream') {
      throw new AppError('UNSUPPORTED_MEDIA_TYPE', {
        message: 'The body is not a file.', hint: 'Send content-type: application/octet-stream.'
      })
    }
    return await whileConnected(request, (signal) =>
      fastify.files.write(access(request, signal), request.query.path, request.body as Readable, size))
  })

  fastify.delete('/:id/files/content', {
    schema: { params: SandboxParams, querystring: FileQuery, response: { 200: Type.Object({}), ...errors } }
  }, async (request) => {
    await whileConnected(request, (signal) => fastify.files.remove(access(request, signal), request.query.path))
    return {}
  })
}

export default files

/** RFC 8187: a few more characters than URLs know have to be escaped. */
function encodeName (name: string): string {
  return encodeURIComponent(name).replace(/['()*]/g, (character) => `%${character.charCodeAt(0).toString(16)}`)
}
