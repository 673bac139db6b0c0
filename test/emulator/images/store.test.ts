import { symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { ImageStore, type BuildRequest } from '../../../emulator/images/store.js'
import { repeatAsUser } from '../../helpers/as-user.js'
import { hostDirectory, readHost, runtimeFor, sh, startContainer } from '../../helpers/containers.js'

const { runtime, directory, skip } = await runtimeFor(t)

const image = new ImageStore({ dataDir: join(directory, 'images'), runtime, images: {} })
const build = (commands: string[], more: Partial<BuildRequest> = {}) =>
  image.build({ parent: { kind: 'local' }, commands, env: {}, forceBuild: false, onLog () {}, ...more })

t.test('RUN, ENV and WORKDIR really run, build secrets stay out of the image, and content finds the cache (1.1)', { skip }, async (t) => {
  const log: string[] = []
  const commands = [
    '# a comment', 'ENV GREETING="hello there"', 'ENV NAME=$GREETING', 'WORKDIR /srv/app', 'WORKDIR sub',
    'RUN echo "$NAME" > file && \\', '    echo two >> file && echo "$TOKEN" | wc -c && mkdir -p /run/service',
    'RUN ["/bin/sh", "-c", "rm /etc/mime.types /etc/services; touch /usr/local/bin/added /tmp/gone"]', 'EXPOSE 80', 'USER root'
  ]
  const request = { commands, env: { TOKEN: 'secret' }, onLog: (text: string) => { log.push(text) } }
  const first = await build(commands, request)
  t.match(first.imageId, /^im-[0-9A-Za-z]{22}$/)
  t.match(log.join(''), /RUN echo[\s\S]*\n7\n/)
  t.match(first, { env: { GREETING: 'hello there', NAME: 'hello there' }, workdir: '/srv/app/sub' })
  const container = await startContainer(runtime, { rootfs: first.rootfs, workdir: first.workdir! })
  const look = await sh(container, 'pwd; cat file; ls /usr/local/bin/added; echo "[$TOKEN]"; ls /tmp; ls -d /run/service; ls /etc/services; [ -d /etc/ssl ]')
  t.equal(look.out, '/srv/app/sub\nhello there\ntwo\n/usr/local/bin/added\n[]\n/run/service\n')
  t.match(look.err, /services.*No such file/)
  await container.stop()

  log.length = 0
  t.equal((await build(commands, { ...request, env: { TOKEN: 'other value' } })).imageId, first.imageId)
  t.same(log, [], 'the cache was used')
  const reopened = new ImageStore({ dataDir: join(directory, 'images'), runtime, images: {} })
  t.same(await reopened.byId(first.imageId), first)
  t.not((await build(commands, { ...request, forceBuild: true })).imageId, first.imageId)
  const child = await build(['RUN cat file > copy'], { parent: first })
  const second = await startContainer(runtime, { rootfs: child.rootfs, workdir: child.workdir! })
  t.equal((await sh(second, 'cat copy')).out, 'hello there\ntwo\n')
  await second.stop()
})

t.test('A build that fails says why, names what it can\'t do, and can be tried again (1.6, 8.10)', { skip }, async (t) => {
  await t.rejects(build(['RUN echo started; echo broken >&2; exit 7']), { message: /exit code 7[\s\S]*broken/ })
  await t.rejects(build(['RUN kill -9 $$']), { message: /signal 9/ })
  for (const line of ['COPY . /app', 'ADD x /y', 'ONBUILD RUN x', 'FROM other', 'NONSENSE']) {
    await t.rejects(build([line]), { message: new RegExp(line.split(' ')[0]!) })
  }
  const commands = ['RUN echo one > /one', 'RUN [ "$TOKEN" = right ]']
  await t.rejects(build(commands, { env: { TOKEN: 'wrong' } }), { message: /exit code 1/ })
  const mended = await build(commands, { env: { TOKEN: 'right' } })
  const [left, right] = await Promise.all([build(['RUN sleep 0.3; echo > /side']), build(['RUN sleep 0.3; echo > /side'])])
  t.same(left, right, 'the same build twice at once')
  const container = await startContainer(runtime, { rootfs: mended.rootfs })
  t.equal((await sh(container, 'cat /one')).out, 'one\n')
  await container.stop()
})

t.test('A tag is a base that is configured, this machine\'s, or one of a registry (1.1)', { skip }, async (t) => {
  const bases = new ImageStore({ dataDir: join(directory, 'images'), runtime, images: { 'debian:12': directory } })
  t.same(await bases.base('debian:12'), { kind: 'directory', path: directory })
  t.same(await bases.base('local'), { kind: 'local' })
  for (const tag of ['debian', 'toString']) t.same(await bases.base(tag), { kind: 'registry', tag })
})

t.test('Steps run as the user that USER names, or not at all: only root can become others (1.1)', { skip }, async (t) => {
  const building = build(['USER nobody', 'RUN id -u > /tmp/who && cp /tmp/who /var/tmp/who'])
  if (process.getuid!() !== 0) return await t.rejects(building, /user is nobody: only as root can the emulator become/)
  const image = await building
  t.equal(image.user, 'nobody')
  const container = await startContainer(runtime, { rootfs: image.rootfs, user: 'nobody' })
  t.equal((await sh(container, 'cat /var/tmp/who; id -u')).out, '65534\n65534\n')
  await container.stop()
})

t.test('Links in an image lead nowhere on the host', { skip }, async (t) => {
  const host = await hostDirectory(t)
  await writeFile(join(host, 'resolv.conf'), 'host')
  const layered = await build([`RUN ln -s ${host} /out; mv /etc /etc.old; ln -s ${host} /etc`])
  t.equal(await readHost(host), 'resolv.conf: host', 'keeping the layer')
  const volume = { volumeId: 'vo-images', readOnly: false }
  await runtime.volumes.create(volume.volumeId)
  for (const spec of [{ workdir: '/out/work' }, { volumes: [{ ...volume, path: '/out/volume' }] }, { workdir: '/etc/work' }]) {
    const container = await startContainer(runtime, { rootfs: layered.rootfs, ...spec }).catch(() => undefined)
    await container?.stop()
  }
  const base = await hostDirectory(t)
  await Promise.all(['etc', 'tmp', 'dev', 'proc', 'sys', 'run', '__modal'].map((name) =>
    symlink(host, join(base, name))))
  const container = await startContainer(runtime, { rootfs: { base: { kind: 'directory', path: base }, layers: [] } }).catch(() => undefined)
  await container?.stop()
  t.equal(await readHost(host), 'resolv.conf: host', 'setting up a root')
})

repeatAsUser(t, import.meta.url)
