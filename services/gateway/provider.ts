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
  if (model === undefined || !modelPattern.test(model)) {
    throw new GatewayError('invalid_request_error', 'The model is not valid.')
  }
  const filled = path.replace(':model', encodeURIComponent(model))
  return { url: join(baseUrl ?? `https://bedrock-runtime.${region}.amazonaws.com`, filled), charged: true, model }
}

/** About one connection only (RFC 9110, 7.6.1). */
const hopByHop = ['connection', 'keep-alive', 'te', 'trailer', 'transfer-encoding', 'upgrade', 'expect']
/**
 * What the API and Bedrock read of a request, and what the CLI says of itself. Others may change the price, as those of
 * Bedrock do for tiers, latency and guardrails (`x-amzn-bedrock-*`), or choose who pays (`anthropic-workspace-id`).
 */
const kept = new RegExp('^(accept|accept-language|content-type|user-agent|x-app|x-client-request-id|' +
  'anthropic-(version|beta|client-.+)|x-(stainless|claude-code)-.+)$')
/** What would speak for this service's own origin. */
const droppedFromAnswer = new Set([...hopByHop, 'set-cookie', 'alt-svc', 'strict-transport-security'])

type Headers<T> = Record<string, T>

/** The headers of a request that the provider needs, with the real key. */
export function requestHeaders<T> (provider: Provider, headers: Readonly<Headers<T>>): Headers<T | string> {
  return {
    ...Object.fromEntries(Object.entries(headers).filter(([name]) => kept.test(name))),
    // What is compressed could not be counted as it passes.
    'accept-encoding': 'identity',
    ...(provider.kind === 'anthropic'
      ? { 'x-api-key': provider.apiKey }
      : { authorization: `Bearer ${provider.apiKey}` })
  }
}

/** The headers of an answer. None repeats the key. */
export function responseHeaders<T> ({ apiKey }: Provider, headers: Readonly<Headers<T>>): Headers<T> {
  return Object.fromEntries(Object.entries(headers).filter(([name, value]) =>
    !droppedFromAnswer.has(name) && !name.startsWith('access-control-') && !String(value).includes(apiKey)))
}

function join (base: string, path: string): string {
  return base.replace(/\/+$/, '') + path
}
