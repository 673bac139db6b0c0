import { Type } from '@sinclair/typebox'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { FastifyRequest } from 'fastify'
import { whileConnected } from '../lib/connection.js'
import {
  BranchRequest, ChangedPaths, Changes, Commit, CommitRequest, Difference, DifferenceQuery
} from '../schemas/changes.js'
import { errorAnswers } from '../schemas/common.js'
import { SandboxParams } from '../schemas/sandbox.js'
import { ofRepository } from './errors.js'

/** What has changed in a sandbox's git repository; staging, committing, and branches. */
const changes: FastifyPluginAsyncTypebox = async (fastify) => {
  const tags = ['changes']
  const access = ({ account, params, log }: FastifyRequest, signal: AbortSignal) =>
    ({ account, id: (params as SandboxParams).id, log, signal })

  fastify.get('/:id/changes', {
    schema: {
      operationId: 'listChanges',
      summary: 'What has changed in the git repository of the workdir, and its branches',
      tags,
      params: SandboxParams,
      errors: ofRepository,
      response: { 200: Changes, ...errorAnswers }
    }
  }, async (request) => await whileConnected(request, (signal) => fastify.changes.status(access(request, signal))))

  fastify.get('/:id/changes/diff', {
    schema: {
      operationId: 'readDifference',
      summary: 'How one file has changed',
      tags,
      params: SandboxParams,
      querystring: DifferenceQuery,
      errors: [...ofRepository, 'PATH_FORBIDDEN', 'FILE_NOT_FOUND'],
      response: { 200: Difference, ...errorAnswers }
    }
  }, async (request) => {
    const { path, ...options } = request.query
    return await whileConnected(request, (signal) => fastify.changes.difference(access(request, signal), path, options))
  })

  fastify.post('/:id/changes/stage', {
    schema: {
      operationId: 'stageChanges',
      summary: 'Put the changes of files into the next commit',
      tags,
      params: SandboxParams,
      body: ChangedPaths,
      errors: [...ofRepository, 'PATH_FORBIDDEN', 'FILE_NOT_FOUND'],
      response: { 200: Type.Object({}), ...errorAnswers }
    }
  }, async (request) => {
    await whileConnected(request, (signal) => fastify.changes.stage(access(request, signal), request.body.paths))
    return {}
  })

  fastify.post('/:id/changes/unstage', {
    schema: {
      operationId: 'unstageChanges',
      summary: 'Take the changes of files out of the next commit',
      tags,
      params: SandboxParams,
      body: ChangedPaths,
      errors: [...ofRepository, 'PATH_FORBIDDEN', 'FILE_NOT_FOUND'],
      response: { 200: Type.Object({}), ...errorAnswers }
    }
  }, async (request) => {
    await whileConnected(request, (signal) => fastify.changes.unstage(access(request, signal), request.body.paths))
    return {}
  })

  fastify.post('/:id/changes/commit', {
    schema: {
      operationId: 'commitChanges',
      summary: 'Commit what is staged',
      tags,
      params: SandboxParams,
      body: CommitRequest,
      errors: [...ofRepository, 'NOTHING_STAGED'],
      response: { 200: Commit, ...errorAnswers }
    }
  }, async (request) => {
    const commit = await whileConnected(request, (signal) =>
      fastify.changes.commit(access(request, signal), request.body.message))
    request.log.info({ ...request.ids, ...commit }, 'changes committed')
    return commit
  })

  fastify.post('/:id/changes/branch', {
    schema: {
      operationId: 'switchBranch',
      summary: 'Switch to a branch, or make one',
      tags,
      params: SandboxParams,
      body: BranchRequest,
      errors: ofRepository,
      response: { 200: Type.Object({}), ...errorAnswers }
    }
  }, async (request) => {
    const { name, ...options } = request.body
    await whileConnected(request, (signal) => fastify.changes.switchTo(access(request, signal), name, options))
    return {}
  })
}

export default changes
