import t from 'tap'
import { parseConfig } from '../../../config.js'
import { imageRecipe } from '../../../services/sandboxes/images.js'
import { SandboxService } from '../../../services/sandboxes/service.js'
import { openEmulator } from '../../helpers/emulator.js'

t.test('The default image has the pinned Claude; an own image is taken as it is (1.1)', async (t) => {
  const claudeVersion = '2.1.330'
  t.match(imageRecipe(undefined, { backend: 'modal', claudeVersion }).commands.join('\n'), /claude-code@2\.1\.330/)
  t.strictSame(imageRecipe(undefined, { backend: 'local', claudeVersion }), { registry: 'local', commands: [] })
  t.strictSame(imageRecipe(undefined, { backend: 'modal', claudeVersion, claudeImage: 'mine:1' }), { registry: 'mine:1', commands: [] })
  t.strictSame(
    imageRecipe({ registry: 'debian:12', registrySecret: 's', dockerfileCommands: ['RUN x'] }, { backend: 'local', claudeVersion }),
    { registry: 'debian:12', registrySecret: 's', commands: ['RUN x'] })
})

const { emulator, skip } = await openEmulator(t)

t.test('The default image is built before anybody asks for it, and a build that fails stops nothing', { skip }, async (t) => {
  const lines: Record<string, any>[] = []
  const note = (fields: object, message: string) => { lines.push({ ...fields, message }) }
  const log = { info: note, warn: note, error: note, debug () {} }
  const { sandbox: timeouts } = parseConfig({})
  const client = emulator.modal()
  const serviceWith = (claudeImage: string) => new SandboxService({
    client, log, timeouts, deployment: 'd', image: { backend: 'modal', claudeImage, claudeVersion: '1.0.0' }
  })
  await serviceWith('local').buildDefaultImage()
  t.match(lines.at(-1), { message: 'step done', step: 'image', imageId: /^im-/ })
  await client.apps.fromName('modal-sandbox-service')
  await serviceWith('nowhere.example/none:1').buildDefaultImage()
  t.match(lines.at(-1), { message: 'default image not built yet', err: { step: 'image' } })
})
