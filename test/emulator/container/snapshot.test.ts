import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { runOnHost } from '../../../emulator/container/host.js'
import { repeatAsUser } from '../../helpers/as-user.js'
import { hostDirectory, runtimeFor, seen, sh, startContainer } from '../../helpers/containers.js'
import { isolation } from '../../helpers/isolation.js'

const { runtime, directory, skip: broken } = await runtimeFor(t)
const skip = broken || (isolation === 'runsc' && 'gVisor keeps files and mounts to itself')

const entries = 400
const rounds = 12

/** In a container: puts a link to another directory in place of /srv/tree/deep, and the directory back, for ever. */
const swap = (target: string) => `
  const { mkdirSync, renameSync, symlinkSync, writeFileSync } = require('fs')
  process.chdir('/srv/tree')
  mkdirSync('deep')
  for (let index = 0; index < ${entries}; index++) writeFileSync('deep/' + index, 'own')
  symlinkSync(${JSON.stringify(target)}, 'link')
  const rest = () => { for (const end = process.hrtime.bigint() + 300_000n; process.hrtime.bigint() < end;); }
  console.log('begun')
  for (;;) {
    renameSync('deep', 'away'); renameSync('link', 'deep'); rest()
    renameSync('deep', 'link'); renameSync('away', 'deep'); rest()
  }`

async function contents (path: string): Promise<string[]> {
  const files = (await readdir(path, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
  return await Promise.all(files.map(async ({ parentPath, name }) => await readFile(join(parentPath, name), 'utf8')))
}

t.test('A container that swaps a directory for a link while it is copied gets nothing of the machine', { skip }, async (t) => {
  const host = await hostDirectory(t)
  for (let index = 0; index < entries; index++) await writeFile(join(host, String(index)), 'secret')
  const container = await startContainer(runtime, { id: 'swapper' })
  t.teardown(() => container.discard())
  await sh(container, 'mkdir -p /srv/tree')
  const swapper = await container.exec({ command: ['node', '-e', swap(host)] })
  await seen(swapper.stdout, 'begun')
  const found = new Set<string>()
  for (let round = 0; round < rounds; round++) {
    const at = (name: string) => join(directory, `${name}-${round}`)
    // What changes all the time may also fail to be copied.
    const failed = (error: Error & { cause?: { stderr?: string } }) => { t.match(error.cause?.stderr, /cp: /) }
    await container.copyDirectory('/srv/tree', at('directory')).catch(failed)
    await container.copyLayer(at('layer')).catch(failed)
    for (const path of [at('directory'), join(at('layer'), 'root', 'srv', 'tree')]) {
      for (const text of await contents(path)) found.add(text)
    }
  }
  t.equal(swapper.status, undefined, 'it has gone on')
  t.same([...found], ['own'])
})

t.test('A copy has modes, links and times', { skip }, async (t) => {
  const container = await startContainer(runtime, { id: 'whole' })
  t.teardown(() => container.discard())
  await sh(container, `mkdir -p -m 2751 /srv/whole/sub && cd /srv/whole && chmod 2751 .
    echo "it's" > "it's"; chmod 4711 "it's"; ln "it's" twin; ln -s /etc/passwd link; touch -d @1000000000 sub/old`)
  const [copy, layer] = [join(directory, 'whole'), join(directory, 'whole-layer')]
  await container.copyDirectory('/srv/whole', copy)
  await container.copyLayer(layer)
  const look = 'cd "$1" && stat -c "%n %F %a %h %s" . * && stat -c "%n %Y" sub/old && readlink link'
  const { out } = await sh(container, `set -- /srv/whole; ${look}`)
  const onHost = async (path: string) => (await runOnHost('sh', '-c', look, 'sh', path)).stdout
  const sizes = (text: string) => text.replaceAll(/(directory \d+ \d+) \d+/g, '$1')
  t.equal(sizes(await onHost(copy)), sizes(out))
  t.equal(sizes(await onHost(join(layer, 'root', 'srv', 'whole'))), sizes(out))
})

t.test('What was removed or replaced is so in a container of the layer', { skip }, async (t) => {
  const container = await startContainer(runtime, { id: 'before' })
  t.teardown(() => container.discard())
  const look = 'ls -A /etc/default; ls -d /etc/passwd 2>/dev/null'
  await sh(container, 'rm -r /etc/default; mkdir /etc/default; touch /etc/default/own; rm /etc/passwd')
  const layer = join(directory, 'removed')
  await container.copyLayer(layer)
  const after = await startContainer(runtime, { id: 'after', rootfs: { base: { kind: 'local' }, layers: [layer] } })
  t.teardown(() => after.discard())
  t.equal((await sh(after, look)).out, 'own\n')
})

t.test('A copy of a container that ends meanwhile is none', { skip }, async (t) => {
  for (const copy of ['copyLayer', 'copyDirectory'] as const) {
    const container = await startContainer(runtime, { id: copy.toLowerCase() })
    await sh(container, 'mkdir /srv/many; cd /srv/many; for i in $(seq 500); do echo $i > $i; done')
    const target = join(directory, copy)
    const copying = copy === 'copyLayer' ? container.copyLayer(target) : container.copyDirectory('/srv/many', target)
    const [outcome] = await Promise.allSettled([copying, container.discard()])
    t.match(outcome, { status: 'rejected', reason: { name: 'ContainerError', reason: 'ended' } }, copy)
  }
})

repeatAsUser(t, import.meta.url)
