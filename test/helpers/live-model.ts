import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import blankSpace from 'ts-blank-space'
import { randomId } from '../../lib/ids.js'
import { SandboxProcess } from '../../services/modal/process.js'
import { startLiveSandbox } from './live-sandbox.js'
import { freePort } from './port.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const start = (port: number) => `import { createServer } from 'node:http'
import { createHandler } from './emulator/model/handler.js'
const scripts = new Map()
createServer(createHandler({ apiKey: process.env.API_KEY, scripts, requests: [] })).listen(${port}, '0.0.0.0')
`

/**
 * The scripted model where sandboxes of Modal reach it: in one of their own, behind a tunnel. For tests on Modal
 * without a model key.
 */
export async function startLiveModel () {
  const apiKey = randomId('key')
  // On Modal any port would do, but sandboxes of the emulator may share the ports of their machine.
  const port = await freePort()
  const { sandbox, url, close } = await startLiveSandbox({
    name: 'model',
    image: (client) => client.images.fromRegistry(process.env.CLAUDE_IMAGE ?? 'node:22-slim'),
    port,
    cpu: 0.5,
    memoryMiB: 512,
    env: { API_KEY: apiKey }
  })
  try {
    const unpack = await SandboxProcess.start(sandbox, ['tar', '-xzf', '-', '-C', '/srv'], { step: 'unpack' })
    await unpack.write(packModel(port))
    const code = await unpack.exit()
    unpack.release()
    if (code !== 0) throw new Error(`the scripted model was not unpacked: exit code ${code}`)
    await sandbox.exec(['node', '/srv/main.mjs'])
    await reachable(url)
    return { url, apiKey, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** The model as JavaScript that listens on the port, and the one package that it needs, as a compressed tar. */
async function * packModel (port: number): AsyncGenerator<Buffer> {
  const directory = await mkdtemp(join(tmpdir(), 'live-model-'))
  try {
    const sources = ['emulator/lib/shell.ts', ...(await readdir(join(root, 'emulator/model'))).map((name) => `emulator/model/${name}`)]
    for (const source of sources.filter((name) => name.endsWith('.ts'))) {
      const target = join(directory, source.replace(/ts$/, 'js'))
      await mkdir(dirname(target), { recursive: true })
      await writeFile(target, blankSpace(await readFile(join(root, source), 'utf8')))
    }
    await writeFile(join(directory, 'package.json'), '{"type":"module"}')
    await writeFile(join(directory, 'main.mjs'), start(port))
    await mkdir(join(directory, 'node_modules', '@sinclair'), { recursive: true })
    await symlink(join(root, 'node_modules/@sinclair/typebox'), join(directory, 'node_modules/@sinclair/typebox'))
    const tar = spawn('tar', ['-czh', '-C', directory, '.'], { stdio: ['ignore', 'pipe', 'inherit'] })
    yield * tar.stdout
  } finally {
    await rm(directory, { recursive: true })
  }
}

async function reachable (url: string) {
  for (const end = Date.now() + 30_000; ;) {
    const answer = await fetch(url).catch(() => undefined)
    if (answer !== undefined) return
    if (Date.now() > end) throw new Error(`the scripted model does not answer at ${url}`)
    await new Promise((resolve) => setTimeout(resolve, 250))
  }
}
