import type { IncomingMessage } from 'node:http'
import { S3Fault } from './faults.js'

const errorTextLimit = 64 * 1024

/**
 * Reads a body of known length into `into`. A connection that ends early is a fault, never a short file.
 * @throws {S3Fault}
 */
export async function readBody (response: IncomingMessage, into: Buffer): Promise<void> {
  let length = 0
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      if (length + chunk.length > into.length) break
      length += chunk.copy(into, length)
    }
  } catch (cause) {
    throw networkFault(cause)
  }
  if (length !== into.length || !response.complete) {
    response.destroy()
    throw new S3Fault('IncompleteBody')
  }
}

/** A body of unknown length, as text. @throws {S3Fault} */
export async function readText (response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk)
  } catch (cause) {
    throw networkFault(cause)
  }
  if (!response.complete) throw new S3Fault('IncompleteBody')
  return Buffer.concat(chunks).toString()
}

/** What an answer that is no success says. */
export async function faultOf (response: IncomingMessage): Promise<S3Fault> {
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
  return new S3Fault(code, { status: response.statusCode, date: response.headers.date })
}

/** What a connection failed of. */
export function networkFault (cause: unknown): S3Fault {
  if (cause instanceof S3Fault) return cause
  const { code, name } = cause as NodeJS.ErrnoException
  return new S3Fault(code ?? name ?? 'NetworkError', { cause })
}
