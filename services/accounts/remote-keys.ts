import { createRemoteJWKSet, customFetch, type JWTVerifyGetKey } from 'jose'
import { AppError } from '../../errors.js'

interface Limits {
  /** How long the answer may take, to its last byte, in milliseconds. */
  timeoutMs?: number
  maxBytes?: number
  /** How long the server is not asked again, after it failed, and for keys that it did not have, in milliseconds. */
  pauseMs?: number
}

/**
 * The public keys of an identity provider (`JWT_JWKS_URL`), asked for when they are needed and kept for ten minutes.
 * @throws {AppError} IDENTITY_UNAVAILABLE: the server cannot be reached, or its answer is no JWKS. That says nothing
 * about the token.
 */
export function remoteKeys (
  url: string, { timeoutMs = 5000, maxBytes = 1024 * 1024, pauseMs = 5000 }: Limits = {}
): JWTVerifyGetKey {
  let failure: { error: AppError, until: number } | undefined

  return createRemoteJWKSet(new URL(url), {
    timeoutDuration: timeoutMs,
    // A token may name a key that does not exist: that alone does not make the service ask again and again.
    cooldownDuration: 30_000,
    // jose shares a request in progress, but repeats a failed one for every token.
    async [customFetch] (href, options) {
      if (failure !== undefined && Date.now() < failure.until) throw failure.error
      try {
        const keys = await readKeys(await fetch(href, options), maxBytes)
        failure = undefined
        return Response.json(keys)
      } catch (cause) {
        const error = new AppError('IDENTITY_UNAVAILABLE', {
          cause, headers: { 'retry-after': String(Math.ceil(pauseMs / 1000)) }
        })
        failure = { error, until: Date.now() + pauseMs }
        throw error
      }
    }
  })
}

async function readKeys (response: Response, maxBytes: number): Promise<object> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  if (response.status !== 200) {
    await response.body?.cancel()
    throw new Error(`The JWKS server answered with status ${response.status}; redirects are not followed`)
  }
  // Leaving the loop cancels the rest.
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength
    if (bytes > maxBytes) throw new Error(`The answer of the JWKS server has more than ${maxBytes} bytes`)
    chunks.push(chunk)
  }
  const parsed: unknown = JSON.parse(Buffer.concat(chunks).toString())
  if (!isKeySet(parsed)) throw new Error('The answer of the JWKS server is not a JSON Web Key Set')
  return parsed
}

function isKeySet (value: unknown): value is object {
  return typeof value === 'object' && value !== null && 'keys' in value && Array.isArray(value.keys) &&
    value.keys.every((key) => typeof key === 'object' && key !== null && !Array.isArray(key))
}
