import { createHash, randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { keys, skip, startService } from '../helpers/service.js'

const sandboxes = '/api/modal/sandbox'
const mebibyte = 1024 * 1024

t.test('files', { skip }, async (t) => {
  const service = await startService()
  t.teardown(async () => service.close())
  const created = await service.request(sandboxes, { method: 'POST', json: { volume: { name: 'files' }, workdir: '/workspace/app' } })
  const { id } = await created.json() as { id: string }
  const root = `${sandboxes}/${id}/files`

  const sh = async (script: string) => {
    const response = await service.request(`${sandboxes}/${id}/exec`, {
      method: 'POST', json: { command: ['sh', '-c', script] }, headers: { accept: 'application/json' }
    })
    return ((await response.json()) as { stdout: string }).stdout
  }
  const query = (fields: Record<string, string>) => `?${new URLSearchParams(fields)}`
  const list = async (fields: Record<string, string> = {}) => {
    const response = await service.request(root + query(fields))
    return { status: response.status, body: await response.json() as any }
  }
  const content = async (path: string, init: Parameters<typeof service.request>[1] = {}) => {
    return await service.request(`${root}/content${query({ path })}`, init)
  }
  const put = async (path: string, body: string | Uint8Array) => await content(path, {
    method: 'PUT', body: body as never, headers: { 'content-type': 'application/octet-stream' }
  })
  const refusal = async (response: Response) => {
    const { code, message } = await response.json() as { code: string, message: string }
    return `${response.status} ${code} ${message}`
  }

  await t.test('A directory is listed with all that is known of its entries', async (t) => {
    await sh('mkdir -p sub/deep; printf hello > a.txt; chmod 640 a.txt; touch -d @1700000000 a.txt; ln -s a.txt link')
    const { status, body } = await list()
    t.equal(status, 200)
    t.equal(body.path, '/workspace/app')
    t.equal(body.truncated, false)
    t.strictSame(body.entries.map(({ name, type }: any) => `${name} ${type}`),
      ['sub directory', 'a.txt file', 'link symlink'])
    t.match(body.entries[1], {
      path: '/workspace/app/a.txt', size: 5, mode: '640', modifiedAt: '2023-11-14T22:13:20.000Z'
    })
    t.equal(body.entries[2].target, 'a.txt')
    t.equal((await list({ path: 'sub' })).body.path, '/workspace/app/sub')
    t.same((await list({ path: '/workspace/' })).body.entries.map(({ name }: any) => name).includes('app'), true)
    t.same((await list({ path: 'sub/deep' })).body.entries, [])
    t.equal((await list({ path: 'sub/../.' })).body.path, '/workspace/app')
  })

  const strange = ['new\nline', '-rf', '"quoted" \'both\'', '$(touch pwned)', 'a*b?', 'ünï 🎈', '<img src=x>', ' ', 'back\\slash', '%2e%2e', '...']
  await t.test('Names may hold anything that a file system takes', async (t) => {
    for (const name of strange) t.equal((await put(`names/${name}`, name)).status, 200, JSON.stringify(name))
    const { body } = await list({ path: 'names' })
    t.same(body.entries.map(({ name }: any) => name).sort(), [...strange].sort())
    for (const { path, name } of body.entries) t.equal(await (await content(path)).text(), name)
    t.equal((await content('names/new\nline')).headers.get('content-disposition'), 'attachment; filename*=UTF-8\'\'new%0Aline')
    for (const name of strange) t.equal((await content(`names/${name}`, { method: 'DELETE' })).status, 200)
    t.same((await list({ path: 'names' })).body.entries, [])
    t.same(await sh('ls pwned 2>&1 | wc -l'), '1\n', 'no name is ever a command')
  })

  await t.test('Files from before 1970 are listed, and empty ones can be read', async (t) => {
    await sh('mkdir old; touch -d 1965-01-01 old/ancient; : > old/empty')
    const { body } = await list({ path: 'old' })
    t.match(body.entries, [{ name: 'ancient', modifiedAt: '1965-01-01T00:00:00.000Z' }, { name: 'empty' }])
    t.equal(await (await content('old/empty')).text(), '')
    t.equal((await content('old/ancient')).status, 200)
    await sh('rm -r old')
  })

  await t.test('Nothing leads out of the workspace: not .., not a link, not a link to a link', async (t) => {
    await sh('ln -s / root; ln -s /etc/passwd host; ln -s host host2; ln -s ../../tmp tmp; ln -s /tmp/nothing dangling; ln -s . self')
    for (const path of ['..', '../..', '../../etc', '/etc', '/', '/workspace2', '/workspace/../etc', 'sub/../../../etc', 'root',
      'root/etc', 'tmp', 'self/../../../etc', 'self/root/workspace/../etc']) {
      const { status, body } = await list({ path })
      if (path === '..') t.equal(body.path, '/workspace', 'the volume may be read')
      else t.match({ status, code: body.code }, { status: 403, code: 'PATH_FORBIDDEN' }, path)
    }
    for (const path of ['/etc/passwd', '../../etc/passwd', 'root/etc/passwd', 'host', 'host2', 'tmp/x', 'dangling', 'self/host']) {
      t.match(await refusal(await content(path)), /^403 PATH_FORBIDDEN/, `read ${path}`)
      t.match(await refusal(await put(path, 'x')), /^403 PATH_FORBIDDEN/, `write ${path}`)
    }
    t.match(await refusal(await put('tmp/new/file', 'x')), /^403/)
    t.match(await refusal(await content('root/etc/passwd', { method: 'DELETE' })), /^403/)
    t.equal((await content('host', { method: 'DELETE' })).status, 200, 'the link itself can go')
    t.equal(await sh('ls /tmp/nothing /tmp/new 2>/dev/null; test -s /etc/passwd && echo there'), 'there\n')
    t.equal(await (await content('self/self/link')).text(), 'hello', 'links inside are followed')
    await sh('rm -f root host2 tmp dangling')
  })

  await t.test('What is wrong with a path is told', async (t) => {
    const cases: [Promise<Response>, RegExp][] = [
      [content('missing'), /^404 FILE_NOT_FOUND/],
      [content('missing/a'), /^404 FILE_NOT_FOUND/],
      [content('missing', { method: 'DELETE' }), /^404 FILE_NOT_FOUND/],
      [service.request(root + query({ path: 'missing' })), /^404 FILE_NOT_FOUND/],
      [service.request(root + query({ path: 'a.txt' })), /^400 BAD_REQUEST query.path, .* not a directory/],
      [content('a.txt/b'), /^400 BAD_REQUEST query.path, .* not a directory/],
      [content('sub'), /^400 BAD_REQUEST query.path is a directory/],
      [content('.'), /^400 BAD_REQUEST query.path is a directory/],
      [put('sub', 'x'), /^400 BAD_REQUEST query.path is a directory/],
      [content('a\0b'), /^400 BAD_REQUEST querystring.path/],
      [service.request(`${root}/content`), /^400 BAD_REQUEST querystring.path is required/],
      [service.request(root + query({ since: 'yesterday' })), /^400 BAD_REQUEST querystring.since/],
      [put('n'.repeat(256), 'x'), /^422 FILE_FAILED The sandbox says: File name too long/],
      [content('x', { method: 'PUT', json: {} }), /^415 UNSUPPORTED_MEDIA_TYPE The body is not a file/],
      [content('x', { method: 'PUT', body: '# x', headers: { 'content-type': 'application/json' } }), /^415 .* not a file/],
      [content('x', { method: 'PUT', body: Buffer.from('x') }), /^415 UNSUPPORTED_MEDIA_TYPE The body is not a file/],
      [content('a.txt', { as: 'bob' }), /^404 SANDBOX_NOT_FOUND/]
    ]
    for (const [response, expected] of cases) t.match(await refusal(await response), expected)
  })

  await t.test('A file comes as it is, to be saved and not to be shown', async (t) => {
    const bytes = randomBytes(3 * mebibyte + 17)
    const stored = await put('big.bin', bytes)
    t.match(await stored.json(), { name: 'big.bin', path: '/workspace/app/big.bin', type: 'file', size: bytes.length })
    const response = await content('big.bin')
    t.match(Object.fromEntries(response.headers), {
      'content-type': 'application/octet-stream',
      'content-length': String(bytes.length),
      'content-disposition': 'attachment; filename*=UTF-8\'\'big.bin',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff'
    })
    t.ok(bytes.equals(Buffer.from(await response.arrayBuffer())))
    t.equal((await put('empty', '')).status, 200)
    t.equal((await (await content('empty')).arrayBuffer()).byteLength, 0)
    t.equal(await sh('cat names/../empty | wc -c'), '0\n')
  })

  await t.test('An upload makes the directories above it, and keeps mode and link of what it replaces', async (t) => {
    await sh('printf old > run.sh; chmod 755 run.sh; ln -s run.sh alias')
    t.equal((await put('alias', 'new')).status, 200)
    t.equal(await sh('cat run.sh; stat -c " %a" run.sh; readlink alias'), 'new 755\nrun.sh\n')
    t.equal((await put('one/two/three.txt', 'deep')).status, 200)
    t.equal(await sh('cat one/two/three.txt'), 'deep')
  })

  await t.test('A file that has changed since it was read is not replaced', async (t) => {
    const write = async (body: string, etag: string) => await content('edited.txt', {
      method: 'PUT', body, headers: { 'content-type': 'application/octet-stream', 'if-match': etag }
    })
    await put('edited.txt', 'one')
    const etag = (await content('edited.txt')).headers.get('etag')!
    t.equal(etag, `"${createHash('sha256').update('one').digest('hex')}"`)
    const written = await write('two', etag)
    t.equal(written.status, 200)
    t.equal(written.headers.get('etag'), (await content('edited.txt')).headers.get('etag'), 'the next edit can go on from there')
    t.match(await refusal(await write('three', etag)), /^412 FILE_CHANGED/)
    t.equal(await sh('cat edited.txt; ls -A | grep upload'), 'two', 'nothing is left of it')
    await sh('ln -s edited.txt by-link; rm edited.txt')
    t.match(await refusal(await write('three', written.headers.get('etag')!)), /^412 FILE_CHANGED/, 'nor is one that is gone')
    t.equal(await sh('cat edited.txt 2>/dev/null; rm by-link'), '')
    t.match(await refusal(await write('three', '"x"')), /^400 BAD_REQUEST headers.if-match/)
    t.equal((await content('big.bin')).headers.get('etag'), null, 'a large file is not hashed')
  })

  await t.test('An upload that breaks off leaves what was there, and nothing else', async (t) => {
    await put('kept.txt', 'before')
    const { port } = new URL(service.url)
    const socket = connect(Number(port), '127.0.0.1')
    socket.write(`PUT ${root}/content?path=kept.txt HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${keys.alice}\r\n` +
      'content-type: application/octet-stream\r\ncontent-length: 9000000\r\n\r\n')
    for (let piece = 0; piece < 30; piece++) socket.write(Buffer.alloc(100_000))
    while (!(await sh('ls -A')).includes('.upload-')) await sleep(100)
    socket.destroy()
    while ((await sh('ls -A')).includes('.upload-')) await sleep(100)
    t.equal(await (await content('kept.txt')).text(), 'before')
  })

  await t.test('A reader that leaves ends the command behind it', async (t) => {
    await sh('head -c 300000000 /dev/zero > huge')
    const left = new AbortController()
    const response = await content('huge', { signal: left.signal })
    await response.body!.getReader().read()
    const running = async () => (await sh('for f in /proc/[0-9]*/cmdline; do tr "\\0" " " < $f; echo; done 2>/dev/null'))
      .split('\n').includes('cat ')
    t.ok(await running())
    left.abort()
    while (await running()) await sleep(200)
    await sh('rm huge')
  })

  await t.test('Large files pass through without being held', async (t) => {
    const size = 200 * mebibyte
    const zeros = createHash('sha256')
    const before = process.memoryUsage().rss
    let peak = 0
    const watch = setInterval(() => { peak = Math.max(peak, process.memoryUsage().rss) }, 20)
    await sh(`head -c ${size} /dev/zero > large`)
    let bytes = 0
    for await (const chunk of (await content('large')).body! as unknown as AsyncIterable<Uint8Array>) {
      bytes += chunk.length
      zeros.update(chunk)
    }
    clearInterval(watch)
    t.equal(bytes, size)
    const [expected] = (await sh('sha256sum < large; rm large')).split(' ')
    t.equal(zeros.digest('hex'), expected)
    const grown = (peak - before) / mebibyte
    t.ok(grown < 150, `${Math.round(grown)} MiB more at most, for a file of 200`)
  })

  await t.test('What was written since a time is found below a path', async (t) => {
    const since = new Date().toISOString()
    await sh('mkdir -p .git node_modules/x new/er; sleep 1.1; for f in .git/a node_modules/x/b new/er/c a2; do date > $f; done; mkdir only')
    const { body } = await list({ since })
    t.same(body.entries.map(({ name }: any) => name), ['a2', 'new/er/c'])
    t.equal(body.entries[1].path, '/workspace/app/new/er/c')
    t.same((await list({ since, path: 'new' })).body.entries.map(({ path }: any) => path), ['/workspace/app/new/er/c'])
    t.same((await list({ since: new Date(Date.now() + 60_000).toISOString() })).body.entries, [])
  })

  await t.test('A directory of very many entries says that there are more', async (t) => {
    await sh('mkdir many; cd many; seq -f "%06g-a-name-of-a-usual-length" 20000 | xargs touch')
    const { body } = await list({ path: 'many' })
    t.equal(body.entries.length, 5000)
    t.equal(body.truncated, true)
    await sh('rm -r many')
  })
})
