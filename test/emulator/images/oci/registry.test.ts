import { mkdtemp, readdir, readFile } from 'node:fs/promises'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { removeTree } from '../../../../emulator/container/host.js'
import { BaseImages } from '../../../../emulator/images/bases.js'
import type { Credentials } from '../../../../emulator/images/oci/registry.js'
import { file, TestImage, tarOf } from '../../../helpers/oci-image.js'
import { freePort } from '../../../helpers/port.js'
import { dockerRegistry, noRegistry, standInRegistry } from '../../../helpers/registry.js'

const account = { username: 'robot', password: 'pass:word' }
const imageOf = (content = 'hello') => new TestImage({ layers: [tarOf([file('file', content)])], config: { Env: ['A=1'] } })

/** Opens bases in a directory of its own, and reads a file of them. */
async function puller (t: Test) {
  const directory = await mkdtemp(join(tmpdir(), 'pull-'))
  const bases = new BaseImages(directory, {})
  t.teardown(async () => {
    await bases.close()
    await removeTree(directory)
  })
  const log: string[] = []
  const pull = async (tag: string, credentials?: Credentials) => {
    const onLog = (text: string) => { log.push(text) }
    const { rootfs, ...config } = await bases.open(await bases.find(tag), { credentials, onLog })
    if (rootfs.base.kind !== 'directory') throw new Error('not a directory')
    return { ...config, file: await readFile(join(rootfs.base.path, 'file'), 'utf8') }
  }
  return { bases, directory, log, pull }
}

t.test('An image is pulled, with a line for each part, and what is there is not fetched again', async (t) => {
  const { host, asked } = await standInRegistry(t, { images: { 'app/web:1': imageOf(), 'app/web:2': imageOf('other') } })
  const { pull, log, directory } = await puller(t)
  t.match(await pull(`${host}/app/web:1`), { file: 'hello', env: { A: '1' } })
  t.match(log.join(''), new RegExp(`Pulling app/web:1 from ${host}\n[0-9a-f]{12}: fetched, [\\d.]+ MB\n[^]*Unpacked 1 layers`))
  const before = asked.length
  t.match(await pull(`${host}/app/web:1`), { file: 'hello' })
  t.same(asked.slice(before).map(({ path }) => path), ['/v2/app/web/manifests/1'], 'only whether the tag has moved')
  t.equal((await pull(`${host}/app/web@${imageOf('other').manifest.digest}`)).file, 'other')
  t.same(await readdir(join(directory, 'partial')), [], 'nothing is left behind')
})

t.test('A registry of Docker\'s own is pulled from, with a name and a password', { skip: noRegistry }, async (t) => {
  const { host, push } = await dockerRegistry(t, account)
  await push('team/app', 'v1', imageOf('private'))
  const { pull } = await puller(t)
  t.equal((await pull(`${host}/team/app:v1`, account)).file, 'private')
  await t.rejects(pull(`${host}/team/app:v1`), /denies access to team\/app: it does not exist, or needs a secret with REGISTRY_USERNAME and REGISTRY_PASSWORD/)
  await t.rejects(pull(`${host}/team/app:v1`, { ...account, password: 'wrong' }), /denies access to team\/app with the secret's/)
  await t.rejects(pull(`${host}/team/app:v2`, account), /has no team\/app:v2.*MANIFEST_UNKNOWN/)
})

t.test('A token is got from the service that the registry names, for pulling alone', async (t) => {
  const { host, asked } = await standInRegistry(t, { images: { 'app:1': imageOf() }, account, scheme: 'Bearer' })
  const { pull } = await puller(t)
  t.equal((await pull(`${host}/app:1`, account)).file, 'hello')
  const tokens = asked.filter(({ path }) => path.startsWith('/token'))
  t.match(tokens[0]!.path, /scope=repository%3Aapp%3Apull$/, 'not the scope that the registry proposes')
  await t.rejects(pull(`${host}/app:1`), /denies access/)
  await t.rejects(pull(`${host}/app:1`, { ...account, username: 'else' }), /denies access to app with the secret's/)
})

t.test('Credentials do not follow a redirect to another host', async (t) => {
  const image = imageOf()
  const storage = await standInRegistry(t, { images: { 'app:1': image } })
  for (const scheme of ['Basic', 'Bearer'] as const) {
    const registry = await standInRegistry(t, {
      images: { 'app:1': image },
      account,
      scheme,
      instead ({ path, authorization }, response) {
        if (!path.includes('/blobs/') || authorization === undefined) return false
        response.writeHead(307, { location: `http://${storage.host}${path}` }).end()
        return true
      }
    })
    const { pull } = await puller(t)
    t.equal((await pull(`${registry.host}/app:1`, account)).file, 'hello')
    t.ok(registry.asked.some(({ authorization }) => authorization !== undefined))
  }
  t.ok(storage.asked.length >= 4)
  t.same(storage.asked.filter(({ authorization }) => authorization !== undefined), [])
})

t.test('A redirect or a token service that could be a way to somewhere else is not followed', async (t) => {
  for (const [location, told] of [
    ['http://192.0.2.1/x', /http:\/\/192\.0\.2\.1, which is not followed/], ['file:///etc/passwd', /not followed/], ['', /has no|status|redirects/]
  ] as const) {
    const { host } = await standInRegistry(t, {
      images: {},
      instead (_asked, response) { response.writeHead(302, { location }).end(); return true }
    })
    await t.rejects((await puller(t)).pull(`${host}/app:1`, account), told)
  }
  const challenged = await standInRegistry(t, {
    images: {},
    instead (_asked, response) { response.writeHead(401, { 'www-authenticate': 'Bearer realm="http://192.0.2.1/token"' }).end(); return true }
  })
  await t.rejects((await puller(t)).pull(`${challenged.host}/app:1`, account), /names a token service at http:\/\/192\.0\.2\.1, which is not followed/)
  const circle = await standInRegistry(t, {
    images: {},
    instead ({ path }, response) { response.writeHead(302, { location: path }).end(); return true }
  })
  await t.rejects((await puller(t)).pull(`${circle.host}/app:1`), /redirects too often/)
})

t.test('A transfer that breaks off goes on where it stopped, also with a registry that knows no ranges', async (t) => {
  const image = new TestImage({ layers: [tarOf([file('file', 'hello'), file('rest', Buffer.alloc(500_000, 'r'))])], compress: (layer) => layer })
  const { digest, size } = image.layers[0]!
  const data = image.blobs.get(digest)!
  for (const knowsRanges of [true, false]) {
    let times = 0
    const { host, asked } = await standInRegistry(t, {
      images: { 'app:1': image },
      instead ({ path, range }, response) {
        if (!path.includes(digest)) return false
        const from = knowsRanges ? Number(/\d+/.exec(range ?? '0')![0]) : 0
        response.writeHead(from > 0 ? 206 : 200, { 'content-length': size - from, 'content-range': `bytes ${from}-${size - 1}/${size}` })
        if (times++ < 2) response.write(data.subarray(from, 200_000 * times), () => { response.destroy() })
        else response.end(data.subarray(from))
        return true
      }
    })
    t.equal((await (await puller(t)).pull(`${host}/app:1`)).file, 'hello')
    const ranges = asked.filter(({ path }) => path.includes(digest)).map(({ range }) => range)
    t.equal(ranges.length, 3)
    t.match(ranges[2], /^bytes=[1-9]\d+-$/)
  }
})

t.test('A registry that is busy is asked again', async (t) => {
  let times = 0
  const { host } = await standInRegistry(t, {
    images: { 'app:1': imageOf() },
    instead (_asked, response) {
      if (times++ > 1) return false
      response.writeHead(times === 1 ? 429 : 503, times === 1 ? { 'retry-after': '1' } : {}).end()
      return true
    }
  })
  t.equal((await (await puller(t)).pull(`${host}/app:1`)).file, 'hello')
})

t.test('What does not have its digest or its size is not taken, and not kept', async (t) => {
  const image = imageOf()
  const layer = image.layers[0]!.digest
  const other = imageOf('evil')
  const answers: Array<[(path: string) => Buffer | undefined, RegExp]> = [
    [(path) => path.includes(layer) ? other.blobs.get(other.layers[0]!.digest) : undefined, /does not have the digest|longer than|cannot be reached/],
    [(path) => path.includes(layer) ? Buffer.alloc(image.layers[0]!.size) : undefined, /does not have the digest/],
    [(path) => path.includes(layer) ? Buffer.alloc(1_000_000) : undefined, /longer than the manifest says/],
    [(path) => path.includes('/manifests/') ? Buffer.alloc(5_000_000, ' ') : undefined, /larger than/],
    [(path) => path.includes('/manifests/') ? Buffer.from('[]') : undefined, /not a JSON object/],
    [(path) => path.includes('/manifests/') ? Buffer.from('{"schemaVersion":1}') : undefined, /old format/],
    [(path) => path.includes('/manifests/') ? Buffer.from('{"manifests":[]}') : undefined, /not built for linux/],
    [(path) => path.includes('/manifests/') ? Buffer.from('{"config":{"digest":"sha256:../../x","size":1}}') : undefined, /digest that is none/],
    [(path) => path.includes('/manifests/') ? Buffer.from(JSON.stringify({ config: image.manifest, layers: [{ digest: layer, size: 2 ** 45 }] })) : undefined, /does not name its layers/]
  ]
  for (const [instead, told] of answers) {
    const { host } = await standInRegistry(t, {
      images: { 'app:1': image },
      instead ({ path }, response) {
        const data = instead(path)
        if (data !== undefined) response.end(data)
        return data !== undefined
      }
    })
    const { pull, directory } = await puller(t)
    await t.rejects(pull(`${host}/app:1`), { message: told }, told.source)
    t.same(await readdir(join(directory, 'partial')), [])
    const kept = await readdir(join(directory, 'blobs', 'sha256')).catch(() => [])
    t.same(kept.filter((name) => !image.blobs.has(`sha256:${name}`)), [])
  }
  const digest = other.manifest.digest
  const { host } = await standInRegistry(t, { images: { 'app:1': image }, instead ({ path }, response) { if (path.includes(digest)) response.end(image.blobs.get(image.manifest.digest)); return path.includes(digest) } })
  await t.rejects((await puller(t)).pull(`${host}/app@${digest}`), /does not have the digest/)
})

t.test('A registry that is too large or never answers does not fill the disk or hang', async (t) => {
  const huge = new TestImage({ layers: [] })
  const layers = [{ digest: `sha256:${'a'.repeat(64)}`, size: 2 ** 50 }]
  const config = huge.add(Buffer.from(JSON.stringify({ rootfs: { diff_ids: [`sha256:${'b'.repeat(64)}`] } })), 'x')
  huge.blobs.set(huge.manifest.digest, Buffer.from(JSON.stringify({ config, layers })))
  const { host } = await standInRegistry(t, { images: { 'huge:1': huge } })
  await t.rejects((await puller(t)).pull(`${host}/huge:1`), /larger than 32 GiB/)

  const silent = await standInRegistry(t, { images: {}, instead: () => true })
  const { pull, bases } = await puller(t)
  const pulling = pull(`${silent.host}/app:1`)
  pulling.catch(() => {})
  while (silent.asked.length === 0) await new Promise((resolve) => setTimeout(resolve, 10))
  await bases.close()
  await t.rejects(pulling, 'the emulator can end')
})

t.test('Other registries are reached through the proxy of the environment, and this machine\'s are not', async (t) => {
  const asked: string[] = []
  const proxy = createServer(() => {}).on('connect', ({ url }, socket) => {
    asked.push(url!)
    socket.end('HTTP/1.1 403 Forbidden\r\n\r\n')
  }).listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  process.env.https_proxy = process.env.http_proxy = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
  t.teardown(() => {
    delete process.env.https_proxy
    delete process.env.http_proxy
    proxy.close()
  })
  const { host } = await standInRegistry(t, { images: { 'app:1': imageOf() } })
  const { pull } = await puller(t)
  t.equal((await pull(`${host}/app:1`)).file, 'hello')
  t.same(asked, [])
  await t.rejects(pull('registry.invalid/app:1'), /registry\.invalid cannot be reached/)
  t.equal(asked[0], 'registry.invalid:443')
})

t.test('What cannot be reached, or is no name, is told at once', async (t) => {
  const { pull } = await puller(t)
  const port = await freePort()
  await t.rejects(pull(`127.0.0.1:${port}/app:1`), { message: new RegExp(`The image '127.0.0.1:${port}/app:1' cannot be used: 127.0.0.1:${port} cannot be reached.*EMULATOR_IMAGES`) })
  for (const name of ['UPPER', 'a/../b', 'a b', '', 'app:1:2', 'app@sha256:short', '-x', 'a//b', 'u:p@host/app', 'host:99999/app', 'app?x=1', 'host.example/../app']) {
    await t.rejects(pull(name), { name: 'ImageError', message: /is not the name of an image|digest that is none|is not a host/ }, name)
  }
})
