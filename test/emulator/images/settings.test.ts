import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { removeTree } from '../../../emulator/container/host.js'
import { busyboxEntries, noBusybox } from '../../helpers/busybox.js'
import { expectNothingUnexpected, openEmulator } from '../../helpers/emulator.js'
import { isolation, repeatOnGvisor } from '../../helpers/isolation.js'
import { directory, file, layoutFiles, tarOf, TestImage, writeFiles } from '../../helpers/oci-image.js'
import { dockerRegistry, noRegistry, standInRegistry } from '../../helpers/registry.js'
import { run } from '../../helpers/sdk.js'

const passwd = 'root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nghost:x:1002:1002::/nowhere:/bin/sh\n'
const group = 'root:x:0:\napp:x:1001:\nwheel:x:10:root,app\nother:x:20:someone\n'
const entry = '#!/bin/sh\necho "entry: $*" > /home/app/entered\nshift\nexec "$@"\n'
const system = (config: Record<string, unknown> = {}) => new TestImage({
  config,
  layers: [tarOf([
    ...busyboxEntries(), directory('etc'), directory('tmp', 0o1777), file('etc/passwd', passwd), file('etc/group', group),
    { ...directory('home/app', 0o755), uid: 1000, gid: 1001 }, file('entry', entry, { mode: 0o755 }),
    file('bin/su-id', '', { mode: 0o755 })
  ])]
})

const images = await mkdtemp(join(tmpdir(), 'settings-images-'))
t.teardown(() => removeTree(images))
const layout = async (name: string, config: Record<string, unknown> = {}) =>
  await writeFiles(join(images, name), layoutFiles({ [name]: system(config) }))
const configured: Record<string, string> = noBusybox
  ? {}
  : {
      plain: await layout('plain'),
      full: await layout('full', {
        Env: ['GREETING=hi', 'PATH=/bin'], WorkingDir: '/home/app', User: 'app', Entrypoint: ['/entry', 'first'], Cmd: ['never']
      })
    }
const { emulator, bare, skip: noContainers } = await openEmulator(t, { images: configured })
const skip = noBusybox || noContainers
const notRoot = skip || (process.getuid!() !== 0 && 'only root can become another user')
const modal = emulator.modal()
const app = await modal.apps.fromName('settings', { createIfMissing: true })
const sandboxOf = async (tag: string, commands: string[] = [], params = {}) =>
  await modal.sandboxes.create(app, modal.images.fromRegistry(tag).dockerfileCommands(commands), params)
const sh = async (box: Awaited<ReturnType<typeof sandboxOf>>, script: string, params = {}) => {
  const { stdout, stderr } = await run(box, ['sh', '-c', script], params)
  return stdout + stderr
}

t.test('A sandbox has what its image says: variables, directory, user, entrypoint (1.1)', { skip: notRoot }, async (t) => {
  const box = await sandboxOf('full', [], { env: { GIVEN: 'too' } })
  const ids = await sh(box, 'echo $GREETING $GIVEN $HOME; pwd; id -u; id -g; id -G; umask')
  t.equal(ids, 'hi too /home/app\n/home/app\n1000\n1001\n1001 10\n0022\n')
  t.match(await sh(box, 'while [ ! -s entered ]; do sleep 0.1; done; cat entered; stat -c %u entered'), /^entry: first \/\S+ [^\n]*\n1000\n$/)
  t.notMatch(await sh(box, 'grep -E "Cap(Inh|Prm|Eff)" /proc/self/status'), /[1-9a-f]$/m)
  t.match(await sh(box, 'echo x > /etc/passwd'), /Permission denied|can't create/)
  t.equal(await sh(box, 'env | grep -c __modal'), '0\n')
  await box.terminate()
})

t.test('A variable of the image that names a library to load affects the command alone', { skip: notRoot }, async (t) => {
  const box = await sandboxOf('full', [], { env: { LD_PRELOAD: '/missing.so' } })
  for (const params of [{}, { pty: true }]) {
    const told = await sh(box, 'id -u; echo $LD_PRELOAD; env | grep -c __modal', params)
    t.equal(told.replaceAll('\r', ''), '1000\n/missing.so\n0\n')
  }
  t.equal(await sh(box, '[ -e /proc/$$/fd/3 ] || echo none'), 'none\n', 'what it was read from is closed')
  await box.terminate()
})

const noSnapshots = notRoot || (isolation === 'runsc' && 'gVisor keeps files to itself')
t.test('A snapshot keeps what the image says', { skip: noSnapshots }, async (t) => {
  const box = await sandboxOf('full')
  const again = await modal.sandboxes.create(app, await box.snapshotFilesystem())
  t.equal(await sh(again, 'id -u; pwd; echo $GREETING'), '1000\n/home/app\nhi\n')
  t.match(await sh(again, 'while [ ! -s entered ]; do sleep 0.1; done; cat entered'), /^entry: first/)
  await Promise.all([box.terminate(), again.terminate()])
})

t.test('A command of the sandbox is given to the entrypoint, and its end is the sandbox\'s', { skip: notRoot }, async (t) => {
  const box = await modal.sandboxes.create(app, modal.images.fromRegistry('full'), { command: ['sh', '-c', 'cat entered; id -u; exit 7'] })
  t.match(await box.stdout.readText(), /^entry: first sh -c .*\n1000\n$/)
  t.equal(await box.wait(), 7)
})

t.test('An entrypoint that does not run its arguments is the sandbox\'s end', { skip }, async (t) => {
  const box = await sandboxOf('plain', ['ENTRYPOINT ["/bin/false"]'])
  t.equal(await box.wait(), 1)
})

t.test('USER, ENTRYPOINT and WORKDIR of the commands count as well, also for the steps that follow (1.1)', { skip: notRoot }, async (t) => {
  const box = await sandboxOf('plain', [
    'RUN mkdir /work && chown 1000 /work', 'WORKDIR /work', 'USER app', 'RUN id -un > who; echo $HOME > home', 'ENTRYPOINT ["/entry", "once"]'
  ])
  t.equal(await sh(box, 'cat who home; id -u'), 'app\n/home/app\n1000\n')
  await box.terminate()
  const back = await sandboxOf('full', ['USER root', 'RUN id -u > /who', 'ENTRYPOINT []'])
  t.equal(await sh(back, 'cat /who; id -u; echo $HOME; ls entered'), '0\n0\n/root\nls: entered: No such file or directory\n')
  await back.terminate()
})

t.test('A user is named as with Docker: by name or number, with or without a group', { skip: notRoot }, async (t) => {
  for (const [user, ids] of [
    ['app', '1000 1001 1001 10 /home/app'], ['1000', '1000 1001 1001 10 /home/app'], ['app:other', '1000 20 20 /home/app'],
    ['1000:7', '1000 7 7 /home/app'], ['4242', '4242 0 0 /'], ['4242:4343', '4242 4343 4343 /'], ['ghost', '1002 1002 1002 /nowhere'], ['0', '0 0 0 /root']
  ] as const) {
    const box = await sandboxOf('plain', [`USER ${user}`])
    t.equal(await sh(box, 'echo $(id -u) $(id -g) $(id -G) $HOME'), `${ids}\n`, user)
    await box.terminate()
  }
  for (const user of ['nobody', 'app:nogroup', '$(reboot)']) {
    const box = await sandboxOf('plain', [`USER ${user}`])
    const { code, stderr } = await run(box, ['true'])
    t.equal(code, 126)
    t.match(stderr, /the image's USER .* is not in its \/etc\/passwd and \/etc\/group/)
    await box.terminate()
  }
})

t.test('Another user can use its terminal and its outputs', { skip: notRoot }, async (t) => {
  const box = await sandboxOf('full')
  t.equal(await sh(box, 'echo out > /dev/stdout; echo err > /dev/stderr'), 'out\nerr\n')
  t.match(await sh(box, 'id -u; tty; echo there > $(tty)', { pty: true }), /1000\r\n\/dev\/pts\/\d\r\nthere\r\n/)
  t.equal((await run(box, ['/nowhere'])).code, 127)
  await box.terminate()
})

t.test('fromRegistry pulls with the secret that the SDK sends, and others do not get that image from the cache (8.10)', { skip: skip || noRegistry }, async (t) => {
  const account = { username: 'robot', password: 'hush' }
  const { host, push } = await dockerRegistry(t, account)
  await push('team/tools', 'v1', system({ Env: ['FROM=registry'] }))
  const tag = `${host}/team/tools:v1`
  const keys = (values: Record<string, string>) => modal.secrets.fromObject(values)
  const secret = await keys({ REGISTRY_USERNAME: account.username, REGISTRY_PASSWORD: account.password })
  const image = await modal.images.fromRegistry(tag, secret).dockerfileCommands(['RUN echo $FROM > /from']).build(app)
  const box = await modal.sandboxes.create(app, image)
  t.equal(await sh(box, 'cat /from'), 'registry\n')
  await box.terminate()
  await t.rejects(modal.images.fromRegistry(tag).build(app), /denies access to team\/tools: it does not exist, or needs a secret/)
  const wrong = await keys({ REGISTRY_USERNAME: account.username, REGISTRY_PASSWORD: 'guess' })
  const told = await modal.images.fromRegistry(tag, wrong).build(app).then(() => '', ({ message }: Error) => message)
  t.match(told, /denies access to team\/tools with the secret's REGISTRY_USERNAME/)
  t.notMatch(told, /guess|hush/)
  await t.rejects(modal.images.fromRegistry(tag, await keys({ USER: 'x' })).build(app), /INVALID_ARGUMENT.*REGISTRY_USERNAME and REGISTRY_PASSWORD/)
  await t.rejects(modal.images.fromAwsEcr(tag, secret).build(app), /UNIMPLEMENTED.*REGISTRY_USERNAME/)
})

t.test('A tag that has moved is pulled again only when the build is forced, as on Modal', { skip }, async (t) => {
  const tags = { 'app:latest': system({ Env: ['VERSION=1'] }) }
  const { host, asked } = await standInRegistry(t, { images: tags })
  const build = async (forceBuild: boolean) => {
    const image = { dockerfileCommands: [`FROM ${host}/app`] }
    const { imageId } = await bare.control('ImageGetOrCreate', { appId: app.appId, image, forceBuild })
    for await (const { eof } of bare.stream('ImageJoinStreaming', { imageId, timeout: 55 })) if (eof) break
    const box = await modal.sandboxes.create(app, await modal.images.fromId(imageId))
    const version = await sh(box, 'echo $VERSION')
    await box.terminate()
    return version
  }
  t.equal(await build(false), '1\n')
  tags['app:latest'] = system({ Env: ['VERSION=2'] })
  const before = asked.length
  const cached = await modal.images.fromRegistry(`${host}/app`).build(app)
  t.equal(await sh(await modal.sandboxes.create(app, cached), 'echo $VERSION'), '1\n')
  t.equal(asked.length, before)
  t.equal(await build(true), '2\n')
})

expectNothingUnexpected(t, emulator)
repeatOnGvisor(t, import.meta.url)
