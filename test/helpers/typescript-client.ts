import { execFile } from 'node:child_process'
import { cp, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { unmeasured } from './spawn-node.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const source = join(root, 'clients/typescript')
const compiler = join(root, 'node_modules/typescript/bin/tsc')

/** A project of somebody else's that has the client installed, as it is shipped: compiled, with its dependencies. */
export async function installClient (t: Test) {
  const project = await mkdtemp(join(tmpdir(), 'modal-sandbox-client-'))
  t.teardown(() => rm(project, { recursive: true, force: true }))
  const installed = join(project, 'node_modules/@modal-sandbox/client')
  await mkdir(installed, { recursive: true })
  await cp(join(source, 'package.json'), join(installed, 'package.json'))
  const problems = await compile(source, '--outDir', join(installed, 'dist'))
  if (problems !== '') throw new Error(problems)
  const { dependencies } = JSON.parse(await readFile(join(installed, 'package.json'), 'utf8'))
  for (const name of Object.keys(dependencies)) {
    await mkdir(dirname(join(project, 'node_modules', name)), { recursive: true })
    await symlink(join(root, 'node_modules', name), join(project, 'node_modules', name))
  }
  return { project, modules: join(project, 'node_modules') }
}

/** What the compiler says of a project; nothing when all is well. */
export async function compile (project: string, ...options: string[]): Promise<string> {
  const env = { ...process.env, ...unmeasured }
  return await promisify(execFile)(process.execPath, [compiler, '-p', project, ...options], { env })
    .then(({ stdout }) => stdout, ({ stdout, stderr }) => `${stdout}${stderr}`)
}
