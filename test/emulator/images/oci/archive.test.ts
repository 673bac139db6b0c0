import { execFileSync, spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { gzipSync } from 'node:zlib'
import { removeTree } from '../../../../emulator/container/host.js'
import { BaseImages } from '../../../../emulator/images/bases.js'
import { architecture } from '../../../../emulator/images/oci/manifest.js'
import { dockerFiles, file, layoutFiles, tarOf, tarOfFiles, TestImage, writeFiles } from '../../../helpers/oci-image.js'

const noZstd = spawnSync('zstd', ['--version']).status === 0 ? false : 'zstd is not installed'
const zstd = (data: Buffer) => execFileSync('zstd', ['-cq'], { input: data })
const layers = [tarOf([file('file', 'lower'), file('gone')]), tarOf([file('.wh.gone'), file('file', 'hello')])]
const config = {
  Env: ['PATH=/bin', 'EMPTY=', 'EQUALS=a=b', 'not.a.name=x'], WorkingDir: '/srv/app', User: '1000:1000', Entrypoint: ['/bin/entry', 'x'], Cmd: ['y']
}

async function opener (t: Test) {
  const directory = await mkdtemp(join(tmpdir(), 'archive-'))
  t.teardown(() => removeTree(directory))
  const log: string[] = []
  const open = async (path: string, tag = 'app:1') => {
    const bases = new BaseImages(join(directory, 'images'), { [tag]: path })
    const { rootfs, ...rest } = await bases.open(await bases.find(tag), { onLog: (text) => { log.push(text) } })
    if (rootfs.base.kind !== 'directory') throw new Error('not a directory')
    const files = (await readdir(rootfs.base.path)).sort()
    return { ...rest, files, path: rootfs.base.path, file: await readFile(join(rootfs.base.path, 'file'), 'utf8') }
  }
  const write = async (name: string, data: Buffer) => {
    await writeFile(join(directory, name), data)
    return join(directory, name)
  }
  return { directory, open, write, log }
}

t.test('OCI layouts and archives, and those of docker save, give the same image, compressed or not', async (t) => {
  const { directory, open, write, log } = await opener(t)
  const layout = layoutFiles({ 'app:1': new TestImage({ layers, config }) })
  const saved = dockerFiles(layers, config, ['app:1'])
  const compressed = [...saved].map(([name, data]) => [name, name.endsWith('.tar') ? gzipSync(data) : data] as const)
  const paths = [
    await writeFiles(join(directory, 'layout'), layout),
    await write('oci.tar', tarOfFiles(layout)),
    await write('oci.tar.gz', gzipSync(tarOfFiles(layout))),
    await write('docker.tar', tarOfFiles(saved)),
    await write('docker.tar.gz', gzipSync(tarOfFiles(saved))),
    await write('docker-compressed-layers.tar', tarOfFiles(new Map(compressed)))
  ]
  for (const path of paths) {
    t.match(await open(path), {
      files: ['file'],
      file: 'hello',
      env: { PATH: '/bin', EMPTY: '', EQUALS: 'a=b' },
      workdir: '/srv/app',
      user: '1000:1000',
      entrypoint: ['/bin/entry', 'x']
    }, path)
  }
  t.match(log.join(''), /variable "not\.a\.name" is left out/)
  t.same(await readdir(join(directory, 'images', 'partial')), [])
})

t.test('Layers that are compressed with zstd are read', { skip: noZstd }, async (t) => {
  const { directory, open, write } = await opener(t)
  const image = new TestImage({ layers, compress: zstd })
  t.equal((await open(await writeFiles(join(directory, 'layout'), layoutFiles({ a: image })))).file, 'hello')
  t.equal((await open(await write('all.tar.zst', zstd(tarOfFiles(dockerFiles(layers, {}, [])))))).file, 'hello')
  const damaged = new TestImage({ layers: layers.slice(0, 1), compress: (layer) => zstd(layer).subarray(0, -20) })
  await t.rejects(open(await writeFiles(join(directory, 'damaged'), layoutFiles({ a: damaged }))), /cannot be decompressed|ends in the middle/)
})

t.test('Links between the layers of an old archive are followed within it', async (t) => {
  const { open, write } = await opener(t)
  const linked = (target: string) => {
    const files = dockerFiles(layers.slice(1), { Env: [`TARGET=${target}`] }, [])
    const [[name, layer]] = [...files] as [[string, Buffer]]
    return tarOf([
      ...[...files].filter(([path]) => path !== name).map(([path, content]) => ({ path, content })),
      { path: 'shared.tar', content: layer }, { path: name, flag: '2', target }
    ])
  }
  t.equal((await open(await write('linked.tar', linked('../shared.tar')))).file, 'hello')
  await t.rejects(open(await write('outside.tar', linked('/etc/passwd'))), /has no file/)
  await t.rejects(open(await write('circle.tar', linked('layer.tar'))), /has no file/)
})

t.test('The image for this machine is taken of several platforms, and the one with the tag of several images', async (t) => {
  const { directory, open } = await opener(t)
  const content = (text: string) => [tarOf([file('file', text)])]
  const foreign = new TestImage({ layers: content('foreign'), architecture: 'riscv64' })
  const mine = new TestImage({ layers: content('mine') })
  const index = new TestImage({ layers: [] })
  const nobody = { ...mine.manifest, digest: `sha256:${'0'.repeat(64)}`, platform: { os: 'unknown', architecture: 'unknown' } }
  const manifests = [foreign.manifest, mine.manifest, nobody]
  Object.assign(index.manifest, index.add(Buffer.from(JSON.stringify({ manifests })), 'application/vnd.oci.image.index.v1+json'), { platform: undefined })
  for (const [digest, blob] of [...foreign.blobs, ...mine.blobs]) index.blobs.set(digest, blob)
  t.equal((await open(await writeFiles(join(directory, 'platforms'), layoutFiles({ app: index })))).file, 'mine')

  const images = { 'docker.io/library/app:1': mine, 'app:2': new TestImage({ layers: content('two') }), other: foreign }
  const several = await writeFiles(join(directory, 'several'), layoutFiles(images))
  t.equal((await open(several, 'app:1')).file, 'mine')
  t.equal((await open(several, 'app:2')).file, 'two')
  await t.rejects(open(several, 'app:3'), /several images, and none is called app:3: .*docker\.io\/library\/app:1, app:2/)
  await t.rejects(open(several, 'other'), /only for linux\/riscv64/)
  const lying = new TestImage({ layers: content('x'), architecture: 'riscv64' })
  Object.assign(lying.manifest, { platform: undefined })
  await t.rejects(open(await writeFiles(join(directory, 'lying'), layoutFiles({ a: lying }))), new RegExp(`built for linux/riscv64, and this machine is linux/${architecture}`))
})

t.test('A layout that changes is read again, and an unchanged one is not', async (t) => {
  const { directory, open, log } = await opener(t)
  const path = join(directory, 'layout')
  const first = await open(await writeFiles(path, layoutFiles({ a: new TestImage({ layers }) })))
  t.equal((await open(path)).path, first.path)
  t.match(log.join(''), /is unpacked already/)
  const bases = new BaseImages(directory, { a: path })
  const before = await bases.find('a')
  t.same(await bases.find('a'), before)
  await writeFiles(path, layoutFiles({ a: new TestImage({ layers: [tarOf([file('file', 'new')])] }) }))
  await utimes(join(path, 'index.json'), 1, 1)
  t.notSame(await bases.find('a'), before)
  t.equal((await open(path)).file, 'new')
})

t.test('What is no image, or not all of it, is told with the path and the reason', async (t) => {
  const { directory, open, write } = await opener(t)
  const image = new TestImage({ layers })
  const layout = layoutFiles({ a: image })
  const without = (digest: string) => new Map([...layout].filter(([name]) => !name.endsWith(digest.slice(7))))
  const changed = (digest: string) => new Map([...layout].map(([name, data]) =>
    [name, name.endsWith(digest.slice(7)) ? Buffer.alloc(data.length) : data]))
  const other = (config: Record<string, unknown>) => layoutFiles({ a: new TestImage({ layers, config }) })
  const cases: Array<[Buffer | Map<string, Buffer>, RegExp]> = [
    [Buffer.from(''), /neither an OCI layout nor `docker save`/],
    [Buffer.from('x'), /ends in the middle/],
    [Buffer.from('x'.repeat(5000)), /not a tar archive/],
    [gzipSync(Buffer.from('x'.repeat(5000))), /not a tar archive/],
    [gzipSync(Buffer.alloc(5000)).subarray(0, 20), /cannot be decompressed/],
    [tarOf([file('bin/sh')]), /neither an OCI layout nor `docker save`/],
    [new Map([['oci-layout', Buffer.from('{}')]]), /has no file index\.json/],
    [new Map([['oci-layout', Buffer.from('{}')], ['index.json', Buffer.from('{"manifests":[]}')]]), /holds no image/],
    [new Map([['oci-layout', Buffer.from('{}')], ['index.json', Buffer.from('[')]]), /index\.json is not JSON/],
    [new Map([['manifest.json', Buffer.from('[{"Config":"/etc/passwd","Layers":[]}]')]]), /has no file \/etc\/passwd/],
    [new Map([['manifest.json', Buffer.from('[{"Config":"../x","Layers":[]}]')]]), /has no file \.\.\/x/],
    [without(image.layers[0]!.digest), /has no file blobs\/sha256/],
    [without(image.manifest.digest), /has no file blobs\/sha256/],
    [changed(image.layers[0]!.digest), /does not have the digest|not a tar archive/],
    [changed(image.manifest.digest), /does not have the digest/],
    [other({ Env: 'x' }), /Env that is no list/],
    [other({ WorkingDir: 7 }), /WorkingDir that is no text/],
    [other({ OnBuild: ['RUN x'] }), /ONBUILD/]
  ]
  for (const [index, [content, told]] of cases.entries()) {
    const paths = [await write(`archive-${index}`, Buffer.isBuffer(content) ? content : tarOfFiles(content))]
    if (!Buffer.isBuffer(content) && content.has('oci-layout')) {
      paths.push(await writeFiles(join(directory, `layout-${index}`), content))
    }
    for (const path of paths) {
      const failure = await open(path).then(() => undefined, (error: Error) => error)
      t.match(failure, { name: 'ImageError', message: told }, `${told}`)
      t.ok(failure?.message.includes(path), 'the path')
    }
  }
  await t.rejects(open(join(directory, 'missing')), /it does not exist/)
  await t.rejects(open('/dev/null'), /neither a directory nor a file/)

  // A layout of somebody else could have links to files of the host, or something that never ends.
  const linked = await writeFiles(join(directory, 'linked'), without(image.layers[0]!.digest))
  await symlink('/etc/passwd', join(linked, 'blobs', 'sha256', image.layers[0]!.digest.slice(7)))
  await t.rejects(open(linked), /has no file blobs/)
  const endless = join(directory, 'endless')
  await mkdir(endless)
  await writeFile(join(endless, 'oci-layout'), '{}')
  execFileSync('mkfifo', [join(endless, 'index.json')])
  await t.rejects(open(endless), /has no file index\.json/)
})

t.test('A layer that unpacks to something else than the configuration says is refused', async (t) => {
  const { directory, open } = await opener(t)
  const image = new TestImage({ layers, compress: () => gzipSync(tarOf([file('file', 'evil')])) })
  await t.rejects(open(await writeFiles(join(directory, 'layout'), layoutFiles({ a: image }))), /the layer sha256:\w+ does not have the digest/)
  t.same(await readdir(join(directory, 'images', 'roots')).catch(() => []), [])
})
