import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

const packages: Partial<Record<NodeJS.Architecture, string>> = {
  x64: '@anthropic-ai/claude-code-linux-x64',
  arm64: '@anthropic-ai/claude-code-linux-arm64'
}

/** The Claude CLI for the base image `local`, from the optional npm package; undefined when that is not installed. */
export function findClaudeBinary (): string | undefined {
  const name = packages[process.arch]
  if (name === undefined) return undefined
  try {
    return join(dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), 'claude')
  } catch {
    return undefined
  }
}
