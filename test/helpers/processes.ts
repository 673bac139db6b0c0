import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { isolation } from './isolation.js'
import { spawnNode } from './spawn-node.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

const clean = {
  PATH: process.env.PATH, HOME: process.env.HOME, TMPDIR: process.env.TMPDIR, EMULATOR_RUNTIME: isolation
}

/** A TypeScript file of the project in a process of its own, its output kept. */
export function startProcess (file: string, env: Record<string, string | undefined>) {
  const child = spawnNode([file], {
    cwd: root, env: { ...clean, ...env }, stdio: ['ignore', 'pipe', 'pipe']
  })
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>
  let output = ''
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (chunk: Buffer) => { output += chunk.toString() })

  /** Waits for a text in the output. @throws when the process ends without it. */
  async function said (pattern: RegExp): Promise<RegExpExecArray> {
    while (true) {
      const match = pattern.exec(output)
      if (match !== null) return match
      if (child.exitCode !== null) throw new Error(`${file} ended without ${pattern}: ${output.slice(-2000)}`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  async function stop (signal: NodeJS.Signals = 'SIGTERM') {
    child.kill(signal)
    return await exited
  }

  return { pid: child.pid!, exited, said, stop, output: () => output }
}

export type RunningProcess = ReturnType<typeof startProcess>

/**
 * The emulator alone, in Modal's place; the variables that lead the SDK to it. Its sandboxes find on 127.0.0.1 what the
 * service finds there, unless `env` says otherwise.
 */
export async function startEmulatorProcess (dataDir: string, env: Record<string, string> = {}) {
  const emulator = startProcess('emulator/main.ts', { DATA_DIR: dataDir, EMULATOR_PORT: '0', EMULATOR_NETWORK: 'host', ...env })
  await emulator.said(/export MODAL_TOKEN_SECRET=\S+\n/)
  const lines = [...emulator.output().matchAll(/^export (\w+)='?([^'\n]*)'?$/gm)]
  return { emulator, modal: Object.fromEntries(lines.map(([, name, value]) => [name!, value!])) }
}

/** The service as it is started in production. `env` leads it to the emulator. */
export async function startServiceProcess (env: Record<string, string>) {
  const service = startProcess('server.ts', { PORT: '0', CLAUDE_IMAGE: 'local', ...env })
  const [, url] = await service.said(/"msg":"open (http:[^"# ]+)/)
  return { ...service, url: url! }
}
