import type { Image, ModalClient, Secret } from 'modal'
import type { SandboxSpec } from '../../schemas/sandbox.js'

export interface ImageSettings {
  backend: 'modal' | 'local'
  /** An image that has `claude` on its PATH already. */
  claudeImage?: string | undefined
  /** The version installed in the default image. */
  claudeVersion: string
}

/** An image's base and the Dockerfile lines on top of it (1.1). */
export interface ImageRecipe {
  registry: string
  /** Name of a Modal secret with the registry's credentials. */
  registrySecret?: string
  commands: string[]
}

/** A client's own image is used as it is; the default image has Claude. */
export function imageRecipe (image: SandboxSpec['image'], settings: ImageSettings): ImageRecipe {
  if (image !== undefined) {
    return {
      registry: image.registry,
      commands: image.dockerfileCommands ?? [],
      ...(image.registrySecret !== undefined && { registrySecret: image.registrySecret })
    }
  }
  const base = plainRecipe(settings)
  const hasClaude = settings.claudeImage !== undefined || settings.backend === 'local'
  return hasClaude ? base : { ...base, commands: claudeCommands(settings.claudeVersion) }
}

/** A shell and the usual tools. The default image is built on it, so little or nothing is fetched for it. */
export function plainRecipe ({ claudeImage, backend }: Pick<ImageSettings, 'claudeImage' | 'backend'>): ImageRecipe {
  return { registry: claudeImage ?? (backend === 'local' ? 'local' : 'node:22-slim'), commands: [] }
}

/** The recipe as an image of the SDK; nothing is built yet. */
export function describeImage (client: ModalClient, { registry, commands }: ImageRecipe, secret?: Secret): Image {
  const image = client.images.fromRegistry(registry, secret)
  return commands.length === 0 ? image : image.dockerfileCommands(commands)
}

/**
 * The npm package is a wrapper around a native program for the machine's architecture; the last line proves at build
 * time that it starts. git, ps and rg are what Claude's tools reach for.
 */
function claudeCommands (version: string): string[] {
  return [
    'RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl git procps ripgrep ' +
      '&& rm -rf /var/lib/apt/lists/*',
    `RUN npm install -g @anthropic-ai/claude-code@${version} && npm cache clean --force`,
    'RUN claude --version'
  ]
}
