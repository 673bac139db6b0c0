import type { Provider } from './provider.js'

/** What makes the CLI use another provider, or another way to it, than the one that its run was given. */
const providers = ['BEDROCK', 'VERTEX', 'FOUNDRY', 'MANTLE', 'ANTHROPIC_AWS', 'GATEWAY'].map((name) => `CLAUDE_CODE_USE_${name}`)
const off = Object.fromEntries([...providers, 'ANTHROPIC_UNIX_SOCKET'].map((name) => [name, '']))

/**
 * Variables that lead the CLI to the gateway, and nowhere else. They are no secrets: the CLI also gets them as settings
 * on its command line, which go before those of a project. A sandbox's proxy is for its tools.
 */
export function gatewayVariables (provider: Provider, url: string): Record<string, string> {
  const { hostname } = new URL(url)
  return {
    ...off,
    ...(provider.kind === 'anthropic'
      ? { ANTHROPIC_BASE_URL: url }
      : { CLAUDE_CODE_USE_BEDROCK: '1', ANTHROPIC_BEDROCK_BASE_URL: url, AWS_REGION: provider.region }),
    NO_PROXY: hostname,
    no_proxy: hostname
  }
}

/** The key's variable, with a token as its value, and what the CLI reads before any settings. */
export function tokenVariables (provider: Provider, token: string): Record<string, string> {
  const name = provider.kind === 'anthropic' ? 'ANTHROPIC_API_KEY' : 'AWS_BEARER_TOKEN_BEDROCK'
  return { [name]: token, BUN_OPTIONS: '' }
}
