import { readFile } from 'node:fs/promises'
import t from 'tap'
import { typesOf } from '../../scripts/client-types.js'
import { startService } from '../helpers/service.js'

const read = async (path: string) => await readFile(new URL(`../../${path}`, import.meta.url), 'utf8')

t.test('The client\'s types are those that the service describes; otherwise `npm run client` writes them anew', async (t) => {
  const service = await startService()
  t.teardown(() => service.close())
  const description = await (await service.request('/openapi.json')).json() as object
  t.ok(await typesOf(description) === await read('clients/typescript/schema.ts'))
})

t.test('The client is tested with the versions of its dependencies that it asks for', async (t) => {
  const [client, root] = await Promise.all(['clients/typescript/package.json', 'package.json'].map(async (path) => JSON.parse(await read(path))))
  for (const [name, version] of Object.entries(client.dependencies)) t.equal(root.devDependencies[name], version, name)
  t.equal(client.engines.node, root.engines.node)
})
