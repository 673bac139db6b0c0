import { chmod, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { removeTree } from './host.js'
import { makeLocalBase } from './local-base.js'
import { makeToolbox } from './toolbox.js'
import type { RuntimeOptions } from './types.js'

/** Counts up when the toolbox or the base `local` is made differently. */
const layoutVersion = 2

/** The program behind the SDK's filesystem calls: one file of JavaScript. */
const fsToolsScript = fileURLToPath(new URL('fs-tools.js', import.meta.url))

/** Removes what an emulator that was killed has left behind. */
export async function cleanDirectory (dataDir: string): Promise<void> {
  if (/[,\\:]/.test(dataDir)) throw new Error('DATA_DIR may not have a comma, colon or backslash: overlay mounts can not name it')
  const containers = join(dataDir, 'containers')
  // Its mounts are gone with their namespaces.
  await removeTree(containers)
  // What containers write may be setuid: nobody else of this machine may get at it.
  for (const name of ['containers', 'volumes', 'images']) {
    await mkdir(join(dataDir, name), { recursive: true })
    await chmod(join(dataDir, name), 0o700)
  }
}

/** Makes what every container needs. */
export async function prepareBase (options: RuntimeOptions): Promise<void> {
  const { dataDir, claudeBinary } = options
  await onceFor(join(dataDir, 'made-from'), await fingerprint(options), async () => {
    await Promise.all([
      makeToolbox(join(dataDir, 'toolbox'), fsToolsScript),
      makeLocalBase(join(dataDir, 'local'), claudeBinary)
    ])
  })
}

/** What the toolbox and the base `local` were made from; they are made again when it has changed. */
async function fingerprint ({ claudeBinary }: RuntimeOptions): Promise<string> {
  const sources = [process.execPath, fsToolsScript, '/etc/ld.so.cache', '/var/lib/dpkg/status', '/etc/resolv.conf', '/usr/bin/script']
  const times = await Promise.all([...sources, ...claudeBinary === undefined ? [] : [claudeBinary]].map(async (path) =>
    `${path} ${(await stat(path).catch(() => undefined))?.mtimeMs}`))
  return [layoutVersion, ...times].join('\n')
}

async function onceFor (file: string, state: string, make: () => Promise<void>): Promise<void> {
  if (await readFile(file, 'utf8').catch(() => undefined) === state) return
  await rm(file, { force: true })
  await make()
  await writeFile(file, state)
}
