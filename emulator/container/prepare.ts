import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { makeSubstitutes } from './gvisor/substitutes.js'
import { removeTree } from './host.js'
import { makeLocalBase } from './local-base.js'
import { asUser, fsTools, makeToolbox } from './toolbox.js'
import type { RuntimeOptions } from './types.js'

/** To be incremented when the toolbox or the base `local` is made differently. */
const layoutVersion = 4

/** Removes what a killed emulator left behind, and makes the directories. */
export async function cleanDirectory (dataDir: string): Promise<void> {
  if (/[,\\:]/.test(dataDir)) throw new Error('DATA_DIR must not contain a comma, colon or backslash: overlay mount options cannot contain them')
  const containers = join(dataDir, 'containers')
  // Mounts below it are gone: they ended with their namespaces.
  await removeTree(containers)
  // Containers may write setuid files: no other user of this machine may reach them.
  for (const name of ['containers', 'volumes', 'images']) {
    await mkdir(join(dataDir, name), { recursive: true })
    await chmod(join(dataDir, name), 0o700)
  }
}

/** Makes what every container needs: the toolbox and the base image `local`. */
export async function prepareBase (options: RuntimeOptions): Promise<void> {
  const { dataDir, claudeBinary } = options
  await makeOnce(join(dataDir, 'made-from'), await fingerprint(options), async () => {
    await Promise.all([
      makeToolbox(join(dataDir, 'toolbox')),
      makeLocalBase(join(dataDir, 'local'), claudeBinary),
      makeSubstitutes(join(dataDir, 'substitutes'))
    ])
  })
}

/** Changes whenever the toolbox and the base `local` must be rebuilt. */
async function fingerprint ({ claudeBinary }: RuntimeOptions): Promise<string> {
  const tools = (await readdir(fsTools)).sort().map((name) => join(fsTools, name))
  const sources = [
    process.execPath, ...tools, asUser, '/etc/ld.so.cache', '/var/lib/dpkg/status', '/etc/resolv.conf', '/usr/bin/script'
  ]
  const times = await Promise.all([...sources, ...claudeBinary === undefined ? [] : [claudeBinary]].map(async (path) =>
    `${path} ${(await stat(path).catch(() => undefined))?.mtimeMs}`))
  return [layoutVersion, ...times].join('\n')
}

async function makeOnce (file: string, state: string, make: () => Promise<void>): Promise<void> {
  if (await readFile(file, 'utf8').catch(() => undefined) === state) return
  await rm(file, { force: true })
  await make()
  await writeFile(file, state)
}
