import { GatewayError } from './errors.js'

/** Where the model is, and what it takes to be let in. */
export type Provider = {
  kind: 'anthropic'
  baseUrl: string
  apiKey: string
} | {
  kind: 'bedrock'
  region: string
  apiKey: string
  /** Instead of Amazon's own. */
  baseUrl?: string | undefined
}

/** A request that the CLI may send, in the provider's terms. */
export interface Call {
  /** Scheme, host and path. */
  url: string
  /** Whether it costs anything. */
  charged: boolean
  /** The model, where the path names it. */
  model?: string
}

/** What the CLI calls, relative to its base URL; nothing else is passed on. */
export const calls = {
  anthropic: [
    { method: 'POST', path: '/v1/messages' },
    { method: 'POST', path: '/v1/messages/count_tokens' },
    { method: 'HEAD', path: '/api/hello' }
  ],
  bedrock: [
    { method: 'GET', path: '/inference-profiles' },
    { method: 'POST', path: '/model/:model/invoke' },
    { method: 'POST', path: '/model/:model/invoke-with-response-stream' }
  ]
} as const

/** Ids, and names of resources (ARN) with a slash. No segment is only dots. */
const modelPattern = /^(?!.*(^|\/)\.+(\/|$))[\w.:-]+(\/[\w.:-]+){0,3}$/

/** @param path one of {@link calls}. @throws {GatewayError} for a model that is none. */
export function resolveCall (provider: Provider, path: string, model: string | undefined): Call {
  if (provider.kind === 'anthropic') {
    return { url: join(provider.baseUrl, path), charged: path === '/v1/messages' }
  }
  const { region, baseUrl } = provider
  if (path === '/inference-profiles') {
    return { url: join(baseUrl ?? `https://bedrock.${region}.amazonaws.com`, path), charged: false }
  }
  if (model === undefined || !modelPattern.test(model)) throw new GatewayError('invalid_request_error', 'The model is not valid.')
  const filled = path.replace(':model', encodeURIComponent(model))
  return { url: join(baseUrl ?? `https://bedrock-runtime.${region}.amazonaws.com`, filled), charged: true, model }
}

/** Ours, or about this connection only, or about who is behind it. */
const dropped = /^(host|connection|keep-alive|te|trailer|transfer-encoding|upgrade|expect|proxy-.*|cookie|authorization|x-api-key|forwarded|via|x-forwarded-.*|x-real-ip|accept-encoding|content-length)$/

/** The headers of a request with the real key, and without a second one or what is none of the provider's business. */
export function requestHeaders<T> (provider: Provider, headers: Readonly<Record<string, T>>): Record<string, T | string> {
  const kept = Object.entries(headers).filter(([name]) => !dropped.test(name))
  return {
    ...Object.fromEntries(kept),
    // What is compressed could not be counted as it passes.
    'accept-encoding': 'identity',
    ...(provider.kind === 'anthropic'
      ? { 'x-api-key': provider.apiKey }
      : { authorization: `Bearer ${provider.apiKey}` })
  }
}

/** Of an answer: what is about the connection to the provider, or would speak for this service's own origin. */
const droppedFromAnswer = /^(connection|keep-alive|transfer-encoding|upgrade|trailer|set-cookie|alt-svc|strict-transport-security|access-control-.*)$/

export function responseHeaders<T> (headers: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !droppedFromAnswer.test(name)))
}

function join (base: string, path: string): string {
  return base.replace(/\/+$/, '') + path
}
