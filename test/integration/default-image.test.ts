import { execFile, spawnSync } from 'node:child_process'
import { mkdtemp, readFile, realpath } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { parseConfig } from '../../config.js'
import { removeTree } from '../../emulator/container/host.js'
import { describeImage, imageRecipe } from '../../services/sandboxes/images.js'
import { testEmulator } from '../helpers/emulator.js'
import { file, layoutFiles, tarOf, TestImage, writeFiles } from '../helpers/oci-image.js'
import { run } from '../helpers/sdk.js'

const exec = promisify(execFile)
const trusted = '/usr/local/share/machine-certificates.crt'
const skip = process.env.TEST_DEFAULT_IMAGE === undefined
  ? 'it takes minutes: `npm run test:image` builds the default image'
  : spawnSync('mmdebstrap', ['--version']).status === 0 ? false : 'mmdebstrap is not installed'

/** Like node:22-slim: the smallest Debian with apt, and this machine's Node and npm below /usr/local. */
async function debianWithNode (directory: string): Promise<TestImage> {
  const system = join(directory, 'system.tar')
  await exec('mmdebstrap', ['--quiet', '--variant=apt', 'bookworm', system])
  const npm = dirname(dirname(await realpath((await exec('sh', ['-c', 'command -v npm'])).stdout.trim())))
  const node = join(directory, 'node.tar')
  const rename = (from: string, to: string) => `--transform=s,^${from.slice(1)},${to},`
  const [bin, modules] = ['usr/local/bin', 'usr/local/lib/node_modules/npm']
  await exec('ln', ['-s', '../lib/node_modules/npm/bin/npm-cli.js', join(directory, 'npm')])
  await exec('tar', ['-cf', node, '-C', '/', '--owner=0', '--group=0', rename(process.execPath, `${bin}/node`), rename(npm, modules),
    process.execPath.slice(1), npm.slice(1), '-C', directory, `--transform=s,^npm$,${bin}/npm,`, 'npm'])
  // Where a proxy of this machine's own speaks for the package registry, its certificate has to be known inside, too.
  const certificates = tarOf([file(trusted.slice(1), await readFile('/etc/ssl/certs/ca-certificates.crt').catch(() => ''))])
  const Env = ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', `NODE_EXTRA_CA_CERTS=${trusted}`, `SSL_CERT_FILE=${trusted}`]
  const layers = [await readFile(system), await readFile(node), certificates]
  return new TestImage({ layers, config: { Env, Cmd: ['node'] }, compress: (layer) => layer })
}

t.test('The default image, as it is built on Modal, is built from its recipe, and Claude runs in it (1.1)', { skip }, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'default-image-'))
  t.teardown(() => removeTree(directory))
  const settings = {
    backend: 'modal' as const,
    claudeVersion: parseConfig({}).claude.version,
    claudeRegistry: 'https://registry.npmjs.org'
  }
  const recipe = imageRecipe(undefined, settings)
  const base = await writeFiles(join(directory, 'base'), layoutFiles({ base: await debianWithNode(directory) }))
  const emulator = await testEmulator({ images: { [recipe.registry]: base } })
  t.teardown(() => emulator.stop())
  const modal = emulator.modal()
  const app = await modal.apps.fromName('default-image', { createIfMissing: true })
  const sandbox = await modal.sandboxes.create(app, await describeImage(modal, recipe).build(app))
  const version = await run(sandbox, ['claude', '--version'])
  t.match(version, { code: 0, stdout: `${settings.claudeVersion} (Claude Code)` })
  const tools = await run(sandbox, ['sh', '-c', 'git --version && rg --version && ps --version && node --version && curl --version'])
  t.equal(tools.code, 0, tools.stderr)
})
