// `npm run client`: writes the types of the TypeScript client, from what the service itself says of its API.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildApp } from '../app.js'
import { parseConfig } from '../config.js'
import { typesOf } from './client-types.js'

const dataDir = await mkdtemp(join(tmpdir(), 'modal-sandbox-client-'))
const app = await buildApp(parseConfig({ DATA_DIR: dataDir }))
try {
  await app.ready()
  const file = fileURLToPath(new URL('../clients/typescript/schema.ts', import.meta.url))
  await writeFile(file, await typesOf(app.swagger()))
} finally {
  await app.close()
  await rm(dataDir, { recursive: true, force: true })
}
