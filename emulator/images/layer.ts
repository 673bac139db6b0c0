import { join } from 'node:path'
import { defaultPath } from '../container/host.js'
import { type ContainerRuntime, isRoot, type Process, type Rootfs } from '../container/types.js'
import { BuildError, expand, parseCommand, parseDockerfile, parseEnv } from './dockerfile.js'

/** What an image is so far. */
export interface LayerState {
  rootfs: Rootfs
  env: Record<string, string>
  workdir?: string
  /** A name or number, maybe with a group: `app`, `1000:1000`. Unset is root. */
  user?: string
  /** Put in front of a sandbox's command. */
  entrypoint?: string[]
}

/** What an image says of its containers, besides their files. */
export function settingsOf ({ env, workdir, user, entrypoint }: LayerState): Omit<LayerState, 'rootfs'> {
  return {
    env,
    ...workdir !== undefined && { workdir },
    ...user !== undefined && { user },
    ...entrypoint !== undefined && { entrypoint }
  }
}

/** These describe an image and change no file; Modal's sandboxes don't run CMD either. */
const descriptive = new Set(['CMD', 'EXPOSE', 'LABEL', 'MAINTAINER', 'STOPSIGNAL', 'HEALTHCHECK', 'VOLUME'])

/**
 * Runs a Dockerfile's instructions, each RUN in a container whose writes become a layer under `directory`.
 * @throws {BuildError} naming the instruction that failed or is not supported
 */
export async function runLayer (
  runtime: Pick<ContainerRuntime, 'start'>,
  start: LayerState,
  { commands, env: secrets, onLog }: { commands: string[], env: Record<string, string>, onLog: (text: string) => void },
  directory: string
): Promise<LayerState> {
  let state = start
  let shell = ['/bin/sh', '-c']
  const args: Record<string, string> = {}
  for (const [index, { keyword, text }] of parseDockerfile(commands).entries()) {
    onLog(`=> ${keyword} ${text}\n`)
    const known = { ...args, ...state.env }
    if (keyword === 'RUN') {
      const layer = join(directory, String(index))
      await runCommand(runtime, state, parseCommand(text, shell), { ...args, ...secrets }, layer, onLog)
      state = { ...state, rootfs: { ...state.rootfs, layers: [...state.rootfs.layers, layer] } }
    } else if (keyword === 'ENV') {
      state = { ...state, env: { ...state.env, ...parseEnv(text, known) } }
    } else if (keyword === 'WORKDIR') {
      const path = expand(text, known)
      state = { ...state, workdir: path.startsWith('/') ? path : join(state.workdir ?? '/', path) }
    } else if (keyword === 'ARG') {
      if (text.includes('=')) Object.assign(args, parseEnv(text, known))
    } else if (keyword === 'SHELL') {
      shell = parseCommand(text, shell)
    } else if (keyword === 'USER') {
      state = { ...state, user: expand(text, known) }
    } else if (keyword === 'ENTRYPOINT') {
      state = { ...state, entrypoint: parseCommand(text, shell) }
    } else if (!descriptive.has(keyword)) {
      throw new BuildError(`${keyword} ${text}: the local emulator does not support ${keyword}`)
    }
  }
  return state
}

async function runCommand (
  runtime: Pick<ContainerRuntime, 'start'>, state: LayerState, command: string[], extra: Record<string, string>,
  layer: string, onLog: (text: string) => void
) {
  const container = await runtime.start({
    id: 'build',
    rootfs: state.rootfs,
    volumes: [],
    env: { PATH: defaultPath, ...isRoot(state.user) && { HOME: '/root' }, ...state.env, ...extra },
    ...state.user !== undefined && { user: state.user },
    workdir: state.workdir ?? '/',
    command: [],
    network: 'open'
  })
  try {
    const process = await container.exec({ command })
    let tail = ''
    const follow = async (stream: Process['stdout']) => {
      for await (const chunk of stream.read(0)) {
        tail = (tail + chunk.toString()).slice(-4000)
        onLog(chunk.toString())
      }
    }
    const [status] = await Promise.all([process.exited, follow(process.stdout), follow(process.stderr)])
    if (!('code' in status) || status.code !== 0) {
      const how = 'code' in status ? `exit code ${status.code}` : `signal ${status.signal}`
      throw new BuildError(`RUN ${command.at(-1)} failed with ${how}:\n${tail.trim()}`)
    }
    await container.saveLayer(layer)
  } finally {
    await container.stop()
  }
}
