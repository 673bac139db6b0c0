import { STATUS_CODES } from 'node:http'
import { AppError, errorCodes, type ErrorCode } from '../errors.js'
import { ErrorAnswer } from '../schemas/common.js'
import { toBody } from './errors.js'

/** The body of an error, with the codes that there are. */
export const ErrorBody = {
  ...ErrorAnswer, properties: { ...ErrorAnswer.properties, code: { ...ErrorAnswer.properties.code, enum: errorCodes } }
}

interface Operation { operationId?: string, responses?: Record<string, unknown> }
interface Document { paths?: Record<string, object | undefined>, components?: object }

/** Puts the codes with which each operation may fail beside what it answers, by their status. */
export function withErrors (openapi: Document, codesOf: Map<string, ErrorCode[]>) {
  const operations = Object.values(openapi.paths ?? {}).flatMap((path = {}) => Object.values<Operation>(path as never))
  for (const operation of operations) {
    for (const [status, codes] of byStatus(codesOf.get(operation.operationId ?? '') ?? [])) {
      operation.responses![status] = {
        description: STATUS_CODES[status]!,
        content: {
          'application/json': {
            schema: {
              allOf: [{ $ref: '#/components/schemas/Error' }],
              type: 'object',
              properties: { code: { type: 'string', enum: codes } }
            },
            examples: Object.fromEntries(codes.map((code) => [code, { $ref: `#/components/examples/${code}` }]))
          }
        }
      }
    }
  }
  const used = new Set([...codesOf.values()].flat())
  const examples = Object.fromEntries([...used].map((code) => [code, exampleOf(code)]))
  return { ...openapi, components: { ...openapi.components, examples } }
}

function byStatus (codes: ErrorCode[]): Map<number, ErrorCode[]> {
  const found = new Map<number, ErrorCode[]>()
  for (const code of codes) {
    const { statusCode } = new AppError(code)
    found.set(statusCode, [...found.get(statusCode) ?? [], code].sort())
  }
  return found
}

function exampleOf (code: ErrorCode) {
  const error = new AppError(code)
  return { summary: error.message, value: toBody(error, 'req_4m8zk2x7q1w9t3b6n5c0') }
}
