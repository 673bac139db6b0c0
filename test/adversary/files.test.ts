import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { parseListing } from '../../services/files/listing.js'
import { fileCommand, fileError } from '../../services/files/script.js'
import type { OwnedSandbox } from '../../services/sandboxes/owned.js'
import { skip, startService } from '../helpers/service.js'

const shells = [['dash'], ['bash'], ['busybox', 'sh']]
  .filter(([program]) => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0)
const rounds = 12

/** Puts in turn a file and a link to a secret under the name `file`, a directory and a link to another under `dir`. */
const swapping = (outside: string) => `
while :; do
  ln -s '${outside}/secret' .link; mv -f .link file
  mv dir .real; ln -s '${outside}' dir
  echo inside > .plain; mv -f .plain file
  rm -f dir; mv .real dir
done`

t.test('files of a workspace whose names are swapped while they are used', async (t) => {
  for (const shell of shells) {
    await t.test(`Nothing outside is read, written or deleted under a name of the workspace: ${shell.join(' ')}`, async (t) => {
      const place = await mkdtemp(join(tmpdir(), 'swapped-'))
      const [inside, outside] = [join(place, 'workspace'), join(place, 'outside')]
      await mkdir(join(inside, 'dir'), { recursive: true })
      await mkdir(outside)
      await writeFile(join(inside, 'dir', 'secret'), 'inside\n')
      await writeFile(join(inside, 'file'), 'inside\n')
      await writeFile(join(outside, 'secret'), 'SECRET')
      const swapper = spawn('sh', ['-c', swapping(outside)], { cwd: inside, stdio: 'ignore' })
      const stopped = once(swapper, 'close')
      t.teardown(async () => {
        swapper.kill('SIGKILL')
        await stopped
        // What it has just started ends by itself.
        await rm(place, { recursive: true, force: true, maxRetries: 10 })
      })
      const owned = { workdir: inside, mountPath: inside } as OwnedSandbox
      const codes = new Set<number | null>()
      const run = (command: Parameters<typeof fileCommand>[1], input = '') => {
        const [, ...args] = fileCommand(owned, { ...command, number: input.length })
        const { status, stdout } = spawnSync(shell[0]!, [...shell.slice(1), ...args], { input, encoding: 'utf8' })
        codes.add(status)
        return stdout
      }
      let leaks = 0
      for (let round = 0; round < rounds; round++) {
        for (const path of ['file', 'dir/secret']) if (run({ action: 'read', path }).includes('SECRET')) leaks++
        run({ action: 'write', path: round % 2 === 0 ? 'file' : 'dir/secret' }, 'inside\n')
        if (round % 4 === 0) run({ action: 'write', path: 'dir/made/new' }, 'inside\n')
        if (round % 4 === 1) run({ action: 'delete', path: 'dir/secret' })
      }
      t.equal(leaks, 0)
      t.same([await readdir(outside), await readFile(join(outside, 'secret'), 'utf8')], [['secret'], 'SECRET'])
      // 0, forbidden, not found; at worst a part of the path is no directory or no file at that moment.
      t.same([...codes].filter((code) => ![0, 43, 44, 45, 46, 47, 48].includes(code!)), [])
    })
  }

  await t.test('A link to a directory is replaced by an upload, not written into', async (t) => {
    const place = await mkdtemp(join(tmpdir(), 'replaced-'))
    t.teardown(() => rm(place, { recursive: true, force: true }))
    await mkdir(join(place, 'workspace', 'dir'), { recursive: true })
    await symlink('dir', join(place, 'workspace', 'link'))
    const inside = join(place, 'workspace')
    const [, ...args] = fileCommand({ workdir: inside, mountPath: inside } as OwnedSandbox, { action: 'write', path: 'link', number: 1 })
    t.equal(spawnSync('sh', args, { input: 'x' }).status, 47, 'as before: it is a directory')
    t.same(await readdir(join(inside, 'dir')), [])
  })

  // In a directory of this machine: on gVisor, a volume may have no FIFO.
  await t.test('A FIFO is listed, and neither read nor written: that would wait for ever', async (t) => {
    const inside = await mkdtemp(join(tmpdir(), 'fifo-'))
    t.teardown(() => rm(inside, { recursive: true, force: true }))
    spawnSync('mkfifo', [join(inside, 'pipe')])
    const run = (action: 'list' | 'read' | 'write') => {
      const path = action === 'list' ? '.' : 'pipe'
      const command = { action, path, nonce: 'mark', number: 1 }
      const [, ...args] = fileCommand({ workdir: inside, mountPath: inside } as OwnedSandbox, command)
      const { status, stdout } = spawnSync('sh', args, { input: 'x', timeout: 30_000, encoding: 'utf8' })
      return { status, stdout }
    }
    t.match(parseListing(run('list').stdout, 'mark').entries, [{ name: 'pipe', type: 'other' }])
    for (const action of ['read', 'write'] as const) {
      const { status } = run(action)
      t.match(fileError(status!, ''), { code: 'BAD_REQUEST', message: 'query.path is neither a file nor a directory' })
    }
  })
})

t.test('over HTTP', { skip }, async (t) => {
  const service = await startService()
  t.teardown(async () => service.close())
  const create = async () => {
    const created = await service.request('/api/modal/sandbox', { method: 'POST', json: {} })
    const { id } = await created.json() as { id: string }
    return `/api/modal/sandbox/${id}`
  }
  const url = await create()
  const sh = async (script: string) => await (await service.request(`${url}/exec`, {
    method: 'POST', json: { command: ['sh', '-c', script] }, headers: { accept: 'application/json' }
  })).json() as { stdout: string }

  await t.test('No byte of /etc/passwd is answered under the name of a workspace file, and errors are honest', async (t) => {
    t.teardown(async () => { await service.request(url, { method: 'DELETE' }) })
    await sh('mkdir dir; echo inside > file; echo inside > dir/passwd')
    await sh(`(${swapping('/etc').replaceAll('/etc/secret', '/etc/passwd')}) > /dev/null 2>&1 &`)
    const answers = new Map<string, number>()
    for (let round = 0; round < 60; round++) {
      const path = round % 3 === 0 ? 'dir/passwd' : 'file'
      const response = round % 8 === 7
        ? await service.request(`${url}/files/content?path=${path}`, {
          method: 'PUT', body: 'inside\n', headers: { 'content-type': 'application/octet-stream' }
        })
        : await service.request(`${url}/files/content?path=${path}`)
      const body = await response.text()
      const answer = response.ok ? (body.includes('root:') ? 'LEAK' : 'ok') : (JSON.parse(body) as { code: string }).code
      answers.set(answer, (answers.get(answer) ?? 0) + 1)
    }
    t.comment(Object.fromEntries(answers))
    t.notOk(answers.has('LEAK'))
    t.ok(answers.has('ok') && answers.has('PATH_FORBIDDEN'), 'the names were swapped indeed')
    t.same([...answers.keys()].filter((code) => !['ok', 'PATH_FORBIDDEN', 'FILE_NOT_FOUND', 'BAD_REQUEST'].includes(code)), [])
    t.match((await sh('head -n 1 /etc/passwd; ls -a /etc | grep -c upload')).stdout, /^root:.*\n0\n$/)
  })

  await t.test('programs of a sandbox that were replaced', async (t) => {
    const url = await create()
    const run = async (command: string[], stdin = '') => await (await service.request(`${url}/exec`, {
      method: 'POST', json: { command, stdin }, headers: { accept: 'application/json' }
    })).json() as { exitCode: number }
    const replace = async (program: string, script: string) => await run(
      ['bash', '-c', `cat > /usr/local/bin/${program}; chmod 755 /usr/local/bin/${program}`], `#!/bin/bash\n${script}\n`)
    const read = async () => await service.request(`${url}/files/content?path=file`, { signal: AbortSignal.timeout(10_000) })
    const write = async () => await service.request(`${url}/files/content?path=file`, {
      method: 'PUT', body: 'inside\n', headers: { 'content-type': 'application/octet-stream' }
    })
    await write()

    await t.test('do not decide about the framing of a response', async (t) => {
      for (const head of ['-1 0', 'NaN NaN', 'Infinity 0', '1e400 1', '1.5 3', '0x10 0', '', '9007199254740993 1', '3 9999999999999']) {
        await replace('stat', `echo '${head}'`)
        const response = await read()
        t.match(await response.json(), { code: 'FILE_FAILED' }, head || 'an empty line')
        t.equal(response.status, 422)
      }
      await run(['rm', '/usr/local/bin/stat'])
      t.equal(await (await read()).text(), 'inside\n')
    })

    await t.test('that fail before the first byte are an error, and no file', async (t) => {
      await replace('cat', 'echo no >&2; exit 1')
      const response = await read()
      t.equal(response.status, 422)
      t.match(response.headers.get('content-type'), /json/)
      t.equal(response.headers.get('content-disposition'), null)
      t.match(await response.json(), { code: 'FILE_FAILED' })
      await run(['rm', '/usr/local/bin/cat'])
      t.equal(await (await read()).text(), 'inside\n')
    })

    await t.test('do not fill the memory with a line that has no end', async (t) => {
      await replace('sh', 'while :; do printf "%065536d" 1; done')
      t.match(await (await read()).json(), { code: 'FILE_FAILED' })
    })

    await t.test('cannot make an upload end without an answer', async (t) => {
      await replace('sh', 'cat > /dev/null')
      const response = await write()
      t.same([response.status, (await response.json() as { code: string }).code], [422, 'FILE_FAILED'])
      await run(['rm', '/usr/local/bin/sh'])
    })
  })
})
