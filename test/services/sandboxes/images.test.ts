import t from 'tap'
import { parseConfig } from '../../../config.js'
import { imageRecipe } from '../../../services/sandboxes/images.js'
import { SandboxService } from '../../../services/sandboxes/service.js'
import { openEmulator } from '../../helpers/emulator.js'

t.test('Every image has Claude unless told otherwise (1.1)', async (t) => {
  const claude = { claudeVersion: '2.1.330', claudeRegistry: 'https://registry.example' }
  const modal = { backend: 'modal', ...claude } as const
  const local = { backend: 'local', ...claude } as const
  const install = imageRecipe({ registry: 'debian:12' }, modal).layers[0]!
  t.match(install, [/^RUN \["sh","-c",.*"2\.1\.330","https:\/\/registry\.example"\]$/])
  t.match(imageRecipe(undefined, modal), { registry: 'node:22-slim', layers: [[/ripgrep/], install] })
  t.strictSame(imageRecipe(undefined, local), { registry: 'local', layers: [] })
  t.strictSame(imageRecipe(undefined, { ...modal, claudeImage: 'mine:1' }), { registry: 'mine:1', layers: [] })

  const dockerfileCommands = ['RUN x']
  const own = { registry: 'debian:12', registrySecret: 's', dockerfileCommands }
  t.strictSame(imageRecipe(own, local), { registry: 'debian:12', registrySecret: 's', layers: [install, dockerfileCommands] })
  t.strictSame(imageRecipe({ ...own, claude: false }, modal).layers, [dockerfileCommands])
  t.strictSame(imageRecipe({ registry: 'local', dockerfileCommands }, local).layers, [dockerfileCommands])
  t.strictSame(imageRecipe({ registry: 'node:22-slim' }, modal).layers, [install], 'the base of the default image has none')
})

const { emulator, skip } = await openEmulator(t)

t.test('The default image is built before anybody asks for it, and a build that fails stops nothing', { skip }, async (t) => {
  const lines: Record<string, any>[] = []
  const note = (fields: object, message: string) => { lines.push({ ...fields, message }) }
  const log = { info: note, warn: note, error: note, debug () {} }
  const { sandbox: timeouts } = parseConfig({})
  const client = emulator.modal()
  const serviceWith = (claudeImage: string) => new SandboxService({
    client, log, timeouts, deployment: 'd', image: { backend: 'modal', claudeImage, claudeVersion: '1.0.0', claudeRegistry: 'http://registry.invalid' }
  })
  await serviceWith('local').buildDefaultImage()
  t.match(lines.at(-1), { message: 'step done', step: 'image', imageId: /^im-/ })
  await client.apps.fromName('modal-sandbox-service')
  await serviceWith('nowhere.example/none:1').buildDefaultImage()
  t.match(lines.at(-1), { message: 'default image not built yet', err: { step: 'image' } })
})
