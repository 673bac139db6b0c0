import t from 'tap'
import { imageRecipe } from '../../../services/sandboxes/images.js'

t.test('The default image has the pinned Claude; an own image is taken as it is (1.1)', async (t) => {
  const claudeVersion = '2.1.330'
  t.match(imageRecipe(undefined, { backend: 'modal', claudeVersion }).commands.join('\n'), /claude-code@2\.1\.330/)
  t.strictSame(imageRecipe(undefined, { backend: 'local', claudeVersion }), { registry: 'local', commands: [] })
  t.strictSame(imageRecipe(undefined, { backend: 'modal', claudeVersion, claudeImage: 'mine:1' }), { registry: 'mine:1', commands: [] })
  t.strictSame(
    imageRecipe({ registry: 'debian:12', registrySecret: 's', dockerfileCommands: ['RUN x'] }, { backend: 'local', claudeVersion }),
    { registry: 'debian:12', registrySecret: 's', commands: ['RUN x'] })
})
