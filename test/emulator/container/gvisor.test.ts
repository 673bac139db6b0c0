import { chown, stat } from 'node:fs/promises'
import t from 'tap'
import { noBusybox } from '../../helpers/busybox.js'
import { openRuntime, sh, startContainer } from '../../helpers/containers.js'
import { noGvisor } from '../../helpers/isolation.js'

const notRoot = process.getuid!() === 0 ? false : 'only root can give away what is the machine\'s'

t.test('A container on gVisor', { skip: noGvisor }, async (t) => {
  const { runtime, close } = await openRuntime(undefined, 'runsc')
  t.teardown(close)
  const container = await startContainer(runtime, { workdir: '/work' })

  await t.test('It has a kernel of its own', async (t) => {
    t.match((await runtime.selfTest()).message, /^containers work: gVisor/)
    t.match((await sh(container, 'cat /proc/version')).out, /^Linux version 4\.4\.0 /)
  })

  await t.test('ls and stat work, whatever the machine\'s own ask of a kernel', { skip: noBusybox }, async (t) => {
    await sh(container, 'touch -d @1700000000.25 old; echo new > new; ln -s new link')
    t.same(await sh(container, 'ls -t; ls -A . | wc -l; ls nothing 2>/dev/null; stat -c "%n %s %.9Y" old; stat -L -c %s link'),
      { status: { code: 0 }, out: 'link\nnew\nold\n3\nold 0 1700000000.250000000\n4\n', err: '' })
  })

  await t.test('A command ends as it would elsewhere, but for a signal, which is told by a code', async (t) => {
    t.same((await sh(container, 'exit 7')).status, { code: 7 })
    t.same((await sh(container, 'kill -KILL $$')).status, { code: 137 })
    t.match(await sh(container, 'sleep 100', { timeoutSeconds: 1 }), { status: { code: 137 } })
  })

  await t.test('The machine\'s /dev/null stays root\'s', { skip: notRoot }, async (t) => {
    const owner = async () => (await stat('/dev/null')).uid
    if (await owner() !== 0) {
      t.comment('something else has given it away before')
      await chown('/dev/null', 0, 0)
    }
    t.teardown(() => chown('/dev/null', 0, 0))
    const apart = await startContainer(runtime, { id: 'apart', network: 'none' })
    t.same(await sh(apart, 'cat; echo silent > /dev/null; echo $(id -u)'), { status: { code: 0 }, out: '0\n', err: '' })
    t.equal(await owner(), 0)
    await apart.stop()
    t.equal(await owner(), 0)
  })

  await t.test('A volume is committed, and can\'t be reloaded', async (t) => {
    const volumeId = 'vo-gvisor'
    await runtime.volumes.create(volumeId)
    const mount = { volumeId, path: '/data', readOnly: false }
    const writer = await startContainer(runtime, { id: 'writer', volumes: [mount] })
    await sh(writer, 'echo kept > /data/file')
    await t.rejects(writer.reloadVolumes(), { message: /gVisor \(runsc\) can't change a running container's mounts/ })
    await writer.stop()
    const reader = await startContainer(runtime, { id: 'reader', volumes: [mount] })
    t.equal((await sh(reader, 'cat /data/file')).out, 'kept\n')
  })
})
