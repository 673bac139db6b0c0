import type { Image, ModalClient, Secret } from 'modal'
import type { SandboxSpec } from '../../schemas/sandbox.js'
import { loadScript } from '../modal/script.js'

export interface ImageSettings {
  backend: 'modal' | 'local'
  /** An image that has `claude` on its PATH already. */
  claudeImage?: string | undefined
  /** The version that is installed in images that have none. */
  claudeVersion: string
  /** Where it is downloaded from. */
  claudeRegistry: string
}

type BaseSettings = Pick<ImageSettings, 'backend' | 'claudeImage'>

/** The emulator's name for this machine's own programs, and Claude. */
const localImage = 'local'

/** An image's base and the Dockerfile lines on top of it (1.1). */
export interface ImageRecipe {
  registry: string
  /** Name of a Modal secret with the registry's credentials. */
  registrySecret?: string
  /** Each is built, and kept for other images, as a whole. */
  layers: string[][]
}

/** The default image has Claude, and a client's own gets it unless told otherwise. */
export function imageRecipe (image: SandboxSpec['image'], settings: ImageSettings): ImageRecipe {
  const wanted: NonNullable<SandboxSpec['image']> = image ?? { registry: baseOf(settings) }
  const { registry, registrySecret, dockerfileCommands, claude = true } = wanted
  const hasClaude = registry === settings.claudeImage || (settings.backend === 'local' && registry === localImage)
  return {
    registry,
    ...(registrySecret !== undefined && { registrySecret }),
    layers: [
      ...image === undefined && !hasClaude ? [[installTools]] : [],
      ...claude && !hasClaude ? [installClaude(settings)] : [],
      ...dockerfileCommands === undefined ? [] : [dockerfileCommands]
    ]
  }
}

/** A shell and the usual tools. The default image is built on it, so little or nothing is fetched for it. */
export function plainRecipe (settings: BaseSettings): ImageRecipe {
  return { registry: baseOf(settings), layers: [] }
}

/** The recipe as an image of the SDK; nothing is built yet. */
export function describeImage (client: ModalClient, { registry, layers }: ImageRecipe, secret?: Secret): Image {
  const base = client.images.fromRegistry(registry, secret)
  return layers.reduce((image, commands) => image.dockerfileCommands(commands), base)
}

function baseOf ({ claudeImage, backend }: BaseSettings): string {
  return claudeImage ?? (backend === 'local' ? localImage : 'node:22-slim')
}

/** What Claude's tools reach for. */
const installTools = 'RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl git procps ripgrep ' +
  '&& rm -rf /var/lib/apt/lists/*'

const installScript = loadScript(import.meta.url, 'install-claude.sh').replace(/^ *#.*\n/gm, '')

/** The CLI is one native program for each kind of machine and libc; the script proves that it starts. */
function installClaude ({ claudeVersion, claudeRegistry }: ImageSettings): string[] {
  return [`RUN ${JSON.stringify(['sh', '-c', installScript, 'install-claude', claudeVersion, claudeRegistry])}`]
}
