import type { IncomingMessage } from 'node:http'
import { S3Error } from './errors.js'

const errorTextLimit = 64 * 1024

/**
 * Reads a body of known length into `into`. A connection that ends early is a fault, never a short file.
 * @throws {S3Error}
 */
export async function readBody (response: IncomingMessage, into: Buffer): Promise<void> {
  let length = 0
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      if (length + chunk.length > into.length) break
      length += chunk.copy(into, length)
    }
  } catch (cause) {
    throw networkError(cause)
  }
  if (length !== into.length || !response.complete) {
    response.destroy()
    throw new S3Error('IncompleteBody')
  }
}

/** A body of unknown length, as text. @throws {S3Error} */
export async function readText (response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk)
  } catch (cause) {
    throw networkError(cause)
  }
  if (!response.complete) throw new S3Error('IncompleteBody')
  return Buffer.concat(chunks).toString()
}

/** What an answer that is no success says. */
export async function errorOf (response: IncomingMessage): Promise<S3Error> {
  let text = ''
  try {
    for await (const chunk of response) {
      text += chunk
      if (text.length > errorTextLimit) break
    }
  } catch {
    // The status says enough.
  }
  const code = /<Code>([A-Za-z0-9.]{1,100})<\/Code>/.exec(text)?.[1] ?? `Http${response.statusCode}`
  return new S3Error(code, { status: response.statusCode, date: response.headers.date })
}

/** What a connection failed of. */
export function networkError (cause: unknown): S3Error {
  if (cause instanceof S3Error) return cause
  const { code, name } = cause as NodeJS.ErrnoException
  return new S3Error(code ?? name ?? 'NetworkError', { cause })
}
