import { status } from '@grpc/grpc-js'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { BareClient, localApp, openEmulator, testEmulator } from '../../helpers/emulator.js'
import { run } from '../../helpers/sdk.js'

const { emulator, bare, skip } = await openEmulator(t, { secrets: { given: { GIVEN: '1' } } })
const [keep, fail, overwrite] = [1, 2, 3]

const make = (name: string, values: Record<string, string>, objectCreationType = keep, environmentName = '') =>
  bare.control('SecretGetOrCreate', { deploymentName: name, envDict: values, objectCreationType, environmentName })

t.test('a secret that a client makes is found by its name, used in sandboxes and removed again', { skip }, async (t) => {
  const modal = emulator.modal()
  const { secretId } = await make('made', { A: '1', B: '2' })
  const secret = await modal.secrets.fromName('made', { requiredKeys: ['A'] })
  t.equal(secret.secretId, secretId)
  const { create } = await localApp(modal, 'secrets')
  const sandbox = await create({ secrets: [secret] })
  t.equal((await run(sandbox, ['sh', '-c', 'echo $A$B'])).stdout, '12\n')
  await t.rejects(modal.secrets.fromName('made', { requiredKeys: ['C'] }), { message: /Secret is missing key\(s\): C/ })
  await modal.secrets.delete('made')
  await t.rejects(modal.secrets.fromName('made'), { message: "Secret 'made' not found" })
  await t.rejects(bare.control('SecretDelete', { secretId }), { code: status.NOT_FOUND, details: /No Secret with ID/ })
})

t.test('making one that exists keeps it, fails or changes it, as asked', async (t) => {
  const { secretId } = await make('twice', { A: '1' })
  t.match(await make('twice', { B: '2' }, keep), { secretId, metadata: { keys: ['A'] } })
  await t.rejects(make('twice', { B: '2' }, fail), { code: status.ALREADY_EXISTS })
  t.match(await make('twice', { B: '2' }, overwrite), { secretId, metadata: { keys: ['B'] } })
  await t.rejects(make('given', { B: '2' }, overwrite), { code: status.FAILED_PRECONDITION, details: /configuration/ })
  await t.rejects(make('bad', { '1A': 'x' }), { code: status.INVALID_ARGUMENT })
})

t.test('secrets belong to an environment, and a list names their keys alone', async (t) => {
  await bare.control('EnvironmentGetOrCreate', { deploymentName: 'dev', objectCreationType: 1 })
  await make('apart', { KEY: 'hidden value' }, keep, 'dev')
  await t.rejects(emulator.modal().secrets.fromName('apart'), { name: 'NotFoundError' })
  const list = await bare.control('SecretList', { environmentName: 'dev' })
  t.same(list.items.map(({ label, metadata }: any) => [label, metadata.keys]), [['apart', ['KEY']], ['given', ['GIVEN']]])
  t.notMatch(JSON.stringify(list), /hidden value/)
})

t.test('what clients made survives a restart, for the owner alone to read', async (t) => {
  const before = await testEmulator()
  const client = new BareClient(before)
  const { secretId } = await client.control('SecretGetOrCreate', { deploymentName: 'kept', envDict: { A: '1' }, objectCreationType: keep })
  client.close()
  await before.stop({ keep: true })
  const file = join(before.dataDir, 'state.json')
  t.equal((await stat(file)).mode & 0o777, 0o600)
  t.match(await readFile(file, 'utf8'), /kept/)
  const after = await testEmulator({ dataDir: before.dataDir })
  t.teardown(() => after.stop())
  t.equal((await after.modal().secrets.fromName('kept')).secretId, secretId)
})
