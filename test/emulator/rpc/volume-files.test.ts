import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { request } from 'node:http'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { expectNothingUnexpected, localApp, openEmulator } from '../../helpers/emulator.js'
import { isolation } from '../../helpers/isolation.js'
import { run } from '../../helpers/sdk.js'

/** Volumes as Python's SDK and command line use them: without a sandbox. */
const { emulator, bare, skip } = await openEmulator(t)
const noReload = skip || (isolation === 'runsc' && 'on gVisor, volumes are not reloaded')

const blockBytes = 8 * 1024 * 1024
const text = (content: string) => Buffer.from(content)

interface Upload { path: string, content: Buffer, mode?: number }

async function makeVolume (name: string, version: 1 | 2) {
  const { volumeId } = await bare.control('VolumeGetOrCreate', { deploymentName: name, objectCreationType: 1, version })
  return { volumeId, ...version === 1 ? firstVersion(volumeId) : secondVersion(volumeId) }
}

/** Each file by its checksum, the large ones as blobs. */
function firstVersion (volumeId: string) {
  const put = async (files: Upload[], force = false) => {
    const sent = []
    for (const { path, content, mode } of files) {
      const sha256Hex = hash(content).toString('hex')
      const { exists } = await bare.control('MountPutFile', { sha256Hex })
      if (!exists) {
        const body = content.length < 4 * 1024 * 1024 ? { data: content } : { dataBlobId: await sendBlob(content) }
        t.match(await bare.control('MountPutFile', { sha256Hex, ...body }), { exists: true })
      }
      sent.push({ filename: path, sha256Hex, mode })
    }
    await bare.control('VolumePutFiles', { volumeId, files: sent, disallowOverwriteExistingFiles: !force })
  }
  return { put, ...common(volumeId, '') }
}

/** Each file by the checksums of its blocks, which have no zeros at their ends. */
function secondVersion (volumeId: string) {
  const put = async (files: Upload[], force = false) => {
    const responses = new Map<string, Buffer>()
    const request = () => ({
      volumeId,
      disallowOverwriteExistingFiles: !force,
      files: files.map(({ path, content, mode }) => ({
        path,
        mode,
        size: content.length,
        blocks: blocksOf(content).map((block) => {
          const contentsSha256 = hash(block)
          return { contentsSha256, putResponse: responses.get(contentsSha256.toString('hex')) }
        })
      }))
    })
    const { missingBlocks } = await bare.control('VolumePutFiles2', request())
    for (const { fileIndex, blockIndex, putUrl } of missingBlocks) {
      const block = blocksOf(files[fileIndex]!.content)[blockIndex]!
      const answer = await fetch(putUrl, { method: 'PUT', body: new Uint8Array(block) })
      t.equal(answer.status, 200)
      responses.set(hash(block).toString('hex'), Buffer.from(await answer.arrayBuffer()))
    }
    if (missingBlocks.length > 0) t.same(await bare.control('VolumePutFiles2', request()), { missingBlocks: [] })
  }
  return { put, ...common(volumeId, '2') }
}

function common (volumeId: string, suffix: string) {
  return {
    async list (path: string, recursive = false, more = {}) {
      const found: Array<{ path: string, type: number, size: number, mtime: number }> = []
      for await (const { entries } of bare.stream(`VolumeListFiles${suffix}`, { volumeId, path, recursive, ...more })) found.push(...entries)
      return found
    },
    /** In blocks, whose zeros at the end may be left out. */
    async read (path: string, range = {}) {
      const { getUrls, start, len } = await bare.control('VolumeGetFile2', { volumeId, path, ...range, clientPadsBlocks: true })
      const parts: Buffer[] = []
      for (const url of getUrls) parts.push(Buffer.from(await (await fetch(url)).arrayBuffer()))
      t.ok(getUrls.length <= Math.ceil((start + len) / blockBytes))
      return Buffer.concat(parts)
    },
    remove: async (path: string, recursive = false) => await bare.control(`VolumeRemoveFile${suffix}`, { volumeId, path, recursive }),
    copy: async (srcPaths: string[], dstPath: string, recursive = false) =>
      await bare.control(`VolumeCopyFiles${suffix}`, { volumeId, srcPaths, dstPath, recursive })
  }
}

const hash = (content: Buffer) => createHash('sha256').update(content).digest()

function blocksOf (content: Buffer): Buffer[] {
  const blocks = []
  for (let start = 0; start < content.length; start += blockBytes) {
    let end = Math.min(content.length, start + blockBytes)
    while (end > start && content[end - 1] === 0) end--
    blocks.push(content.subarray(start, end))
  }
  return blocks
}

async function sendBlob (content: Buffer): Promise<string> {
  const contentSha256Base64 = hash(content).toString('base64')
  const created = await bare.control('BlobCreate', { contentSha256Base64, contentMd5: '', contentLength: content.length })
  const answer = await fetch(created.uploadUrls.items[0], { method: 'PUT', body: new Uint8Array(content) })
  t.equal(answer.headers.get('etag'), `"${createHash('md5').update(content).digest('hex')}"`)
  t.same(created.blobIds, [created.blobId])
  return created.blobId
}

for (const version of [1, 2] as const) {
  t.test(`version ${version}: files that were sent are there for a sandbox, and what it commits can be fetched`, { skip }, async (t) => {
    const volume = await makeVolume(`both-${version}`, version)
    await volume.put([
      { path: '/data/a.txt', content: text('from outside'), mode: 0o640 }, { path: 'data/deep/b', content: text('') }
    ])
    const { create } = await localApp(emulator.modal(), 'volumes')
    const handle = await emulator.modal().volumes.fromName(`both-${version}`)
    const sandbox = await create({ volumes: { '/v': handle } })
    const seen = await run(sandbox, ['sh', '-c', 'cat /v/data/a.txt; stat -c " %a %s" /v/data/a.txt /v/data/deep/b; echo inside > /v/data/c'])
    t.equal(seen.stdout, 'from outside 640 12\n 644 0\n')
    await t.rejects(volume.read('data/c'), { code: 5 }, 'it is not committed')
    await sandbox.terminate({ wait: true })
    t.equal((await volume.read('data/c')).toString(), 'inside\n')
  })

  t.test(`version ${version}: a sandbox sees files that are sent later once it reloads`, { skip: noReload }, async (t) => {
    const volume = await makeVolume(`later-${version}`, version)
    const { create } = await localApp(emulator.modal(), 'volumes')
    const handle = await emulator.modal().volumes.fromName(`later-${version}`)
    const sandbox = await create({ volumes: { '/v': handle } })
    await run(sandbox, ['sh', '-c', 'echo inside > /v/c'])
    await volume.put([{ path: 'late', content: text('late') }])
    t.equal((await run(sandbox, ['ls', '/v'])).stdout, 'c\n')
    await sandbox.reloadVolumes()
    t.equal((await volume.read('c')).toString(), 'inside\n')
    t.equal((await run(sandbox, ['cat', '/v/c', '/v/late'])).stdout, 'inside\nlate')
    await sandbox.terminate({ wait: true })
  })

  t.test(`version ${version}: large files keep every byte, whatever their blocks end with`, async (t) => {
    const volume = await makeVolume(`large-${version}`, version)
    const content = Buffer.concat([randomBytes(blockBytes - 2), text('B\0'), Buffer.alloc(blockBytes), text('end\0\0')])
    await volume.put([{ path: 'large', content }])
    t.ok(content.equals(await volume.read('large')))
    const range = { start: blockBytes - 10, len: 20 }
    t.ok(content.subarray(blockBytes - 10, blockBytes + 10).equals(await volume.read('large', range)))
    t.equal((await volume.read('large', { start: content.length })).length, 0)
    t.same((await volume.list('large')).map(({ path, type, size }) => [path, type, size]), [['large', 1, content.length]])
  })

  t.test(`version ${version}: a list has what is in a directory, or all below it`, async (t) => {
    const volume = await makeVolume(`list-${version}`, version)
    t.same(await volume.list('/'), [])
    await volume.put(['b/two', 'a', 'b/deep/three'].map((path) => ({ path, content: text(path) })))
    const names = async (path: string, recursive = false, more = {}) =>
      (await volume.list(path, recursive, more)).map(({ path, type }) => `${path} ${type}`)
    t.same(await names('/'), ['a 1', 'b 2'])
    t.same(await names('', true), ['a 1', 'b 2', 'b/deep 2', 'b/deep/three 1', 'b/two 1'])
    t.same(await names('/b/'), ['b/deep 2', 'b/two 1'])
    t.same(await names('', true, { maxEntries: 2 }), ['a 1', 'b 2'])
    await t.rejects(names('c'), { code: 5, details: /No such file/ })
    t.ok(Math.abs((await volume.list('a'))[0]!.mtime - Date.now() / 1000) < 60)
  })

  t.test(`version ${version}: nothing is replaced unless asked for, and directories never`, async (t) => {
    const volume = await makeVolume(`replace-${version}`, version)
    await volume.put([{ path: 'd/a', content: text('old') }])
    const again = (path: string, force = false) => volume.put([{ path: 'new', content: text('new') }, { path, content: text('new') }], force)
    await t.rejects(again('/d/a'), { code: 6, details: /already exists/ })
    await t.rejects(again('d', true), { code: 9, details: /Is a directory/ })
    await t.rejects(again('d/a/b', true), { code: 9, details: /Not a directory/ })
    await t.rejects(again('new/below', true), { code: 9 })
    await t.rejects(again('d/../../x', true), { code: 3 })
    t.same((await volume.list('', true)).map(({ path }) => path), ['d', 'd/a'])
    await again('d/a', true)
    t.equal((await volume.read('d/a')).toString(), 'new')
  })

  t.test(`version ${version}: files are copied and removed as cp and rm do it`, async (t) => {
    const volume = await makeVolume(`copy-${version}`, version)
    await volume.put(['one', 'two', 'd/three'].map((path) => ({ path, content: text(path), mode: 0o600 })))
    await volume.copy(['one'], 'copied')
    await volume.copy(['one', '/two'], 'd')
    await volume.copy(['two'], 'd/one')
    t.equal((await volume.read('d/one')).toString(), 'two')
    t.equal((await volume.read('one')).toString(), 'one')
    await t.rejects(volume.copy(['one', 'two'], 'none'), { code: 3, details: /not a directory/ })
    await t.rejects(volume.copy(['none'], 'd'), { code: 5 })
    await t.rejects(volume.copy(['one'], 'none/one'), { code: 5 })
    await t.rejects(volume.copy(['one'], 'one'), { code: 3 })
    await t.rejects(volume.copy(['d'], 'e'), { code: 3, details: /Is a directory/ })
    const copyAll = volume.copy(['d'], 'e', true)
    if (version === 1) await t.rejects(copyAll, { code: 3, details: /not supported for V1/ })
    else await t.resolves(copyAll)
    await volume.remove('copied')
    await t.rejects(volume.remove('copied'), { code: 5 })
    await t.rejects(volume.remove('d'), { code: 3, details: /Is a directory/ })
    await t.rejects(volume.remove('/', true), { code: 3 })
    await volume.remove('d', true)
    const left = version === 1 ? ['one', 'two'] : ['e', 'e/one', 'e/three', 'e/two', 'one', 'two']
    t.same((await volume.list('', true)).map(({ path }) => path), left)
  })
}

t.test('links on a volume lead nowhere', { skip }, async (t) => {
  const volume = await makeVolume('links', 2)
  const { create } = await localApp(emulator.modal(), 'volumes')
  const sandbox = await create({ volumes: { '/v': await emulator.modal().volumes.fromName('links') } })
  await run(sandbox, ['sh', '-c', 'cd /v; ln -s /etc/passwd file; ln -s /etc dir; echo x > real'])
  await sandbox.terminate({ wait: true })
  t.same((await volume.list('')).map(({ path, type }) => [path, type]), [['dir', 3], ['file', 3], ['real', 1]])
  await t.rejects(volume.read('file'), { code: 9, details: /Not a regular file/ })
  await t.rejects(volume.read('dir/passwd'), { code: 5 })
  await t.rejects(volume.put([{ path: 'dir/new', content: text('x') }], true), { code: 9 })
  await t.rejects(volume.copy(['real'], 'dir/new'), { code: 9, details: /Not a directory/ })
  t.same((await volume.list('dir/')).map(({ path, type }) => [path, type]), [['dir', 3]])
  await volume.put([{ path: 'file', content: text('mine') }], true)
  t.equal((await volume.read('file')).toString(), 'mine')
})

t.test('content counts only for whoever has sent it, as announced', async (t) => {
  const { volumeId } = await makeVolume('sent', 2)
  const content = text('secret')
  const [sha256, sha256Hex] = [hash(content), hash(content).toString('hex')]
  const put = (putResponse?: Buffer) => bare.control('VolumePutFiles2',
    { volumeId, files: [{ path: 'a', size: content.length, blocks: [{ contentsSha256: sha256, putResponse }] }] })
  const { missingBlocks: [{ putUrl }] } = await put()
  t.equal((await fetch(putUrl, { method: 'PUT', body: new Uint8Array(blockBytes + 1) })).status, 413)
  t.equal((await fetch(putUrl)).status, 403)
  t.equal((await fetch(`${putUrl}x`, { method: 'PUT', body: 'secret' })).status, 403)
  const other = Buffer.from(await (await fetch(putUrl, { method: 'PUT', body: 'other' })).arrayBuffer())
  t.equal((await put(other)).missingBlocks.length, 1, 'it has another checksum')
  await fetch((await put()).missingBlocks[0].putUrl, { method: 'PUT', body: 'secret' })
  t.equal((await put()).missingBlocks.length, 1, 'what others have sent is not mine')
  await t.rejects(bare.control('VolumePutFiles2', { volumeId, files: [{ path: 'a', size: 0, blocks: [{ contentsSha256: sha256 }] }] }), { code: 3 })

  t.match(await bare.control('MountPutFile', { sha256Hex }), { exists: false })
  await t.rejects(bare.control('MountPutFile', { sha256Hex, data: text('other') }), { code: 3, details: /has the SHA-256/ })
  t.match(await bare.control('MountPutFile', { sha256Hex }), { exists: false })
  await t.rejects(bare.control('MountPutFile', { sha256Hex: '../../x', data: content }), { code: 3 })
  await t.rejects(bare.control('MountPutFile', { sha256Hex, dataBlobId: 'bl-none' }), { code: 9 })
  await t.rejects(bare.control('VolumePutFiles', { volumeId, files: [{ filename: 'a', sha256Hex }] }), { code: 9, details: /was not sent/ })
  await t.rejects(bare.control('VolumeGetFile2', { volumeId: 'vo-none', path: 'a' }), { code: 5 })
})

t.test('content that is sent again is whole, whatever becomes of the first time', async (t) => {
  const content = randomBytes(5 * 1024 * 1024)
  const { blobId, uploadUrl } = await bare.control('BlobCreate', { contentLength: content.length })
  const send = () => {
    const sending = request(uploadUrl, { method: 'PUT', headers: { 'Content-Length': content.length } })
    sending.write(content.subarray(0, content.length / 2))
    return sending
  }
  const [first, second] = [send(), send()]
  first.on('error', () => {})
  await setTimeout(100)
  first.destroy()
  await setTimeout(100)
  second.end(content.subarray(content.length / 2))
  const [answer] = await once(second, 'response')
  t.equal(answer.statusCode, 200)
  answer.resume()
  const sha256Hex = hash(content).toString('hex')
  t.match(await bare.control('MountPutFile', { sha256Hex, dataBlobId: blobId }), { exists: true })
  const { volumeId } = await makeVolume('again', 1)
  await bare.control('VolumePutFiles', { volumeId, files: [{ filename: 'a', sha256Hex }] })
  t.ok(content.equals(await common(volumeId, '').read('a')))
})

t.test('content that was taken stays what it is when its address gets something else', async (t) => {
  const content = text('as announced')
  const sha256Hex = hash(content).toString('hex')
  const { blobId, uploadUrl } = await bare.control('BlobCreate', { contentLength: content.length })
  await fetch(uploadUrl, { method: 'PUT', body: new Uint8Array(content) })
  await bare.control('MountPutFile', { sha256Hex, dataBlobId: blobId })
  t.equal((await fetch(uploadUrl, { method: 'PUT', body: 'another' })).status, 200)
  const { volumeId } = await makeVolume('bystander', 1)
  await bare.control('VolumePutFiles', { volumeId, files: [{ filename: 'a', sha256Hex }] })
  t.equal(String(await common(volumeId, '').read('a')), 'as announced')
})

t.test('a volume is created once, found by its id, and renamed', async (t) => {
  const create = (deploymentName: string) => bare.control('VolumeGetOrCreate', { deploymentName, objectCreationType: 2, version: 2 })
  const { volumeId } = await create('once')
  await t.rejects(create('once'), { code: 6, details: 'Volume \'once\' already exists' })
  await create('taken')
  t.match(await bare.control('VolumeGetById', { volumeId }), { volumeId, metadata: { name: 'once', version: 2 } })
  await t.rejects(bare.control('VolumeRename', { volumeId, name: 'taken' }), { code: 6 })
  await bare.control('VolumeRename', { volumeId, name: 'renamed' })
  t.equal((await emulator.modal().volumes.fromName('renamed')).volumeId, volumeId)
  await t.rejects(emulator.modal().volumes.fromName('once'), { name: 'NotFoundError' })
  const { version } = await bare.control('VolumeGetOrCreate', { objectCreationType: 5, version: 2 })
  t.equal(version, 2)
  await t.rejects(bare.control('VolumeGetById', { volumeId: 'vo-none' }), { code: 5 })
})

expectNothingUnexpected(t, emulator)
