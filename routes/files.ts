import { posix } from 'node:path'
import { Type } from '@sinclair/typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import type { Readable } from 'node:stream'
import { AppError } from '../errors.js'
import { whileConnected } from '../lib/connection.js'
import { errorAnswers } from '../schemas/common.js'
import { FileEntry, FileListing, FileQuery, FilesQuery, WriteHeaders } from '../schemas/file.js'
import { SandboxParams } from '../schemas/sandbox.js'
import { ofFiles } from './errors.js'

const Content = Type.Unsafe<Readable>({ type: 'string', format: 'binary' })

/** The files of a sandbox: list, read, write, delete. Contents are streamed in both directions. */
const files: FastifyPluginAsyncTypebox = async (fastify) => {
  const access = ({ account, params, log }: FastifyRequest, signal: AbortSignal) =>
    ({ account, id: (params as SandboxParams).id, log, signal })

  fastify.addContentTypeParser('application/octet-stream', (_request, payload, done) => { done(null, payload) })

  fastify.get('/:id/files', {
    schema: {
      operationId: 'listFiles',
      summary: 'List a directory, or what has changed below it',
      tags: ['files'],
      params: SandboxParams,
      querystring: FilesQuery,
      errors: ofFiles,
      response: { 200: FileListing, ...errorAnswers }
    }
  }, async (request) => {
    const { path = '.', since } = request.query
    return await whileConnected(request, (signal) =>
      fastify.files.list(access(request, signal), path, since === undefined ? undefined : new Date(since)))
  })

  fastify.get('/:id/files/content', {
    schema: {
      operationId: 'readFile',
      summary: 'Read a file',
      tags: ['files'],
      params: SandboxParams,
      querystring: FileQuery,
      errors: ofFiles,
      response: { 200: Content, ...errorAnswers }
    }
  }, async (request, reply) => {
    const { path } = request.query
    const { size, modifiedAt, digest, body } = await whileConnected(request, (signal) =>
      fastify.files.read(access(request, signal), path))
    // Always a download: a browser must never render content of a sandbox as a page of this origin.
    if (digest !== undefined) reply.header('etag', `"${digest}"`)
    return await reply
      .header('content-type', 'application/octet-stream')
      .header('content-disposition', `attachment; filename*=UTF-8''${encodeName(posix.basename(path))}`)
      .header('content-length', size)
      .header('last-modified', modifiedAt.toUTCString())
      .cacheControl('no-store')
      .send(body)
  })

  fastify.put('/:id/files/content', {
    schema: {
      operationId: 'writeFile',
      summary: 'Write a file',
      tags: ['files'],
      takesFile: true,
      headers: WriteHeaders,
      params: SandboxParams,
      querystring: FileQuery,
      errors: [...ofFiles, 'FILE_CHANGED'],
      response: { 200: FileEntry, ...errorAnswers }
    },
    // Before a parser complains that the file is no valid JSON.
    preParsing: async (request) => {
      if (request.headers['content-length'] === undefined || request.is('application/octet-stream')) return
      throw new AppError('UNSUPPORTED_MEDIA_TYPE', {
        message: 'The body is not a file.', hint: 'Send content-type: application/octet-stream.'
      })
    }
  }, async (request, reply) => {
    const size = Number(request.headers['content-length'])
    // Without it, a truncated upload could not be told from a complete one.
    if (!Number.isSafeInteger(size)) throw fastify.httpErrors.badRequest('headers.content-length is required')
    const expected = request.headers['if-match']?.slice(1, -1)
    const { entry, digest } = await whileConnected(request, (signal) =>
      fastify.files.write(access(request, signal), request.query.path, request.body as Readable, size, expected))
    request.log.info({ ...request.ids, bytes: size }, 'file written')
    reply.header('etag', `"${digest}"`)
    return entry
  })

  fastify.delete('/:id/files/content', {
    schema: {
      operationId: 'deleteFile',
      summary: 'Delete a file',
      tags: ['files'],
      params: SandboxParams,
      querystring: FileQuery,
      errors: ofFiles,
      response: { 200: Type.Object({}), ...errorAnswers }
    }
  }, async (request) => {
    await whileConnected(request, (signal) => fastify.files.remove(access(request, signal), request.query.path))
    request.log.info(request.ids, 'file deleted')
    return {}
  })
}

export default files

/** RFC 8187 forbids a few characters that `encodeURIComponent` does not escape. */
function encodeName (name: string): string {
  return encodeURIComponent(name).replace(/['()*]/g, (character) => `%${character.charCodeAt(0).toString(16)}`)
}
