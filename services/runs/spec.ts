import { AppError } from '../../errors.js'
import type { RunSpec } from '../../schemas/run.js'

/** The SDK refuses more; it counts characters. */
const argvLimit = 65_536

/** What a schema can not say. @throws {AppError} BAD_REQUEST, PAYLOAD_TOO_LARGE. */
export function checkSpec ({ prompt, sessionId, continue: goOn, permissionMode, outputFormat }: RunSpec) {
  if (Buffer.byteLength(prompt) > 1_048_576) {
    throw new AppError('PAYLOAD_TOO_LARGE', { message: 'body.prompt is larger than 1 MB.' })
  }
  if (prompt.includes('\0')) throw new AppError('BAD_REQUEST', { message: 'body.prompt has a NUL character.' })
  if (goOn && sessionId !== undefined) {
    throw new AppError('BAD_REQUEST', { message: 'body.continue and body.sessionId exclude each other.' })
  }
  if (permissionMode === 'ask' && outputFormat === 'text') {
    throw new AppError('BAD_REQUEST', { message: 'body.permissionMode ask needs body.outputFormat stream-json.' })
  }
}

/** @throws {AppError} BAD_REQUEST when the command line is longer than Modal takes. */
export function checkArguments (command: string[]) {
  if (command.reduce((sum, { length }) => sum + length, 0) <= argvLimit) return
  const message = 'body.appendSystemPrompt, allowedTools and disallowedTools are too long together.'
  throw new AppError('BAD_REQUEST', { message })
}
