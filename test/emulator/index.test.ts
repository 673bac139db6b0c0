import { status } from '@grpc/grpc-js'
import type { ModalClient } from 'modal'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { openEmulator, sdkClient, testEmulator } from '../helpers/emulator.js'
import { run } from '../helpers/sdk.js'
import { loader } from '../helpers/spawn-node.js'

const { emulator, skip } = await openEmulator(t)

t.test('volumes, images and credentials are found again after a restart', { skip }, async (t) => {
  const first = await testEmulator()
  const modal = first.modal()
  const app = await modal.apps.fromName('kept', { createIfMissing: true })
  const recipe = (client: ModalClient) => client.images.fromRegistry('local').dockerfileCommands(['RUN echo layer > /layer'])
  const image = await recipe(modal).build(app)
  const volume = await modal.volumes.fromName('kept', { createIfMissing: true })
  const sandbox = await modal.sandboxes.create(app, image, { volumes: { '/data': volume } })
  await run(sandbox, ['sh', '-c', 'echo kept > /data/file'])
  await t.rejects(testEmulator({ dataDir: first.dataDir }), /Another emulator uses the data directory/)
  await first.stop({ keep: true })

  const second = await testEmulator({ dataDir: first.dataDir })
  t.teardown(() => second.stop())
  t.same([second.tokenId, second.tokenSecret], [first.tokenId, first.tokenSecret])
  const again = second.modal()
  t.equal((await again.apps.fromName('kept')).appId, app.appId)
  t.equal((await again.volumes.fromName('kept')).volumeId, volume.volumeId)
  const rebuilt = await recipe(again).build(app)
  t.equal(rebuilt.imageId, image.imageId)
  await t.rejects((await again.sandboxes.fromId(sandbox.sandboxId)).poll(), { code: status.NOT_FOUND })
  const next = await again.sandboxes.create(app, rebuilt, { volumes: { '/data': volume } })
  t.equal((await run(next, ['cat', '/data/file', '/layer'])).stdout, 'kept\nlayer\n')
})

t.test('alone it prints what points an SDK at it, and names every mistake but no value (9.2, 9.5)', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'emulator-test-'))
  t.teardown(() => rm(dataDir, { recursive: true }))
  const start = (environment: Record<string, string>) => spawn(process.execPath, ['--import', loader, 'emulator/main.ts'], {
    env: { ...process.env, DATA_DIR: dataDir, ...environment }, stdio: ['ignore', 'pipe', 'pipe']
  })
  const wrong = start({ EMULATOR_PORT: 'http', EMULATOR_IMAGES: '{"debian:12":"relative"}', EMULATOR_SECRETS: '{"a":{"KEY":hush}}' })
  const [complaints, [code]] = await Promise.all([text(wrong.stderr), once(wrong, 'exit')])
  t.equal(code, 1)
  for (const name of ['EMULATOR_PORT', 'EMULATOR_IMAGES', 'EMULATOR_SECRETS']) t.match(complaints, name)
  t.notMatch(complaints, /hush|relative|http\b/)

  const alone = start({ EMULATOR_SECRETS: '{"a":{"KEY":"hush"}}' })
  let output = ''
  for await (const chunk of alone.stdout) {
    output += chunk
    if (/MODAL_TOKEN_SECRET=.+\n/.test(output)) break
  }
  const [selfTest, machine, ...lines] = output.trim().split('\n')
  t.match(selfTest, /^# /)
  t.match(machine, /^# sandboxes find this machine at (127\.0\.0\.1|198\.18\.0\.2)$/)
  const exported = Object.fromEntries(lines.map((line) => line.replace('export ', '').split('=')))
  t.same(Object.keys(exported), ['MODAL_SERVER_URL', 'MODAL_TOKEN_ID', 'MODAL_TOKEN_SECRET'])
  const client = sdkClient(exported['MODAL_SERVER_URL']!, {
    tokenId: exported['MODAL_TOKEN_ID']!, tokenSecret: exported['MODAL_TOKEN_SECRET']!
  })
  t.match(await client.apps.fromName('first', { createIfMissing: true }), { name: 'first' })
  client.close()
  alone.kill('SIGTERM')
  t.same(await once(alone, 'exit'), [0, null])
  t.notOk((await readdir(dataDir)).includes('containers'))
})

t.test('a start that fails says why and leaves nothing locked (9.2)', async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'emulator-test-'))
  t.teardown(() => rm(dataDir, { recursive: true, force: true }))
  for (const file of ['state.json', 'credentials.json']) {
    await writeFile(join(dataDir, file), '{"half')
    await t.rejects(testEmulator({ dataDir }), { message: new RegExp(`reading the emulator's .*${file}`) })
    await rm(join(dataDir, file))
  }
  const port = Number(new URL(emulator.url).port)
  await t.rejects(testEmulator({ dataDir, port }), { message: new RegExp(`binding the emulator to 127.0.0.1:${port}`) })
  const works = await testEmulator({ dataDir })
  await works.stop()
})
