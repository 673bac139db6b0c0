import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { randomId } from '../../lib/ids.js'
import { noGit, startGitServer } from '../helpers/git-server.js'
import { skip, startService } from '../helpers/service.js'

const sandboxes = '/api/modal/sandbox'
const live = process.env.TEST_LIVE === '1' && 'the repository is on this machine, where sandboxes of Modal cannot reach it'
const portOf = (server: Server) => (server.address() as AddressInfo).port

t.test('a repository at the start', { skip: skip || noGit || live }, async (t) => {
  const token = randomId('token')
  const [server, locked] = await Promise.all([startGitServer(), startGitServer({ token })])
  const service = await startService({ EMULATOR_SECRETS: JSON.stringify({ 'other-git': { GIT_TOKEN: token }, 'test-git': { GIT_TOKEN: token } }) })
  t.teardown(async () => {
    await service.close()
    await Promise.all([server.close(), locked.close()])
  })
  const { urlInSandbox } = service.app.modal
  const create = async (json: object) => {
    const response = await service.request(sandboxes, { method: 'POST', json })
    return { status: response.status, body: await response.json() as any }
  }
  const sh = async (id: string, script: string) => {
    const response = await service.request(`${sandboxes}/${id}/exec`, {
      method: 'POST', json: { command: ['sh', '-c', script] }, headers: { accept: 'application/json' }
    })
    return ((await response.json()) as { stdout: string }).stdout
  }
  const end = async (id: string) => { await service.request(`${sandboxes}/${id}`, { method: 'DELETE' }) }
  const url = urlInSandbox(server.url)

  await t.test('It is cloned into the working directory with its history', async (t) => {
    const { status, body: { id } } = await create({ git: { url } })
    t.equal(status, 200)
    t.equal(await sh(id, 'ls; git rev-list --count HEAD; git branch --show-current; git remote get-url origin; git status --short'),
      `first.txt\nsecond.txt\n2\nmain\n${url}\n`)
    await end(id)
  })

  await t.test('A branch is checked out, with so many commits as asked for', async (t) => {
    const { body: { id } } = await create({ git: { url, branch: 'other', depth: 1 } })
    t.equal(await sh(id, 'ls; git rev-list --count HEAD; git branch --show-current'), 'first.txt\nsecond.txt\nthird.txt\n1\nother\n')
    await end(id)
  })

  await t.test('A clone on a volume is kept as it is in the next sandbox, and other files are never mixed with one', async (t) => {
    const spec = { volume: { name: 'code' }, git: { url } }
    const { body: { id } } = await create(spec)
    await sh(id, 'echo mine > first.txt')
    t.equal(await sh(id, 'git status --short'), ' M first.txt\n')
    await end(id)
    const again = await create(spec)
    t.equal(await sh(again.body.id, 'cat first.txt'), 'mine\n')
    await end(again.body.id)
    const other = await create({ volume: { name: 'code' }, git: { url: urlInSandbox(locked.url) } })
    t.match(other, { status: 422, body: { code: 'CLONE_FAILED', step: 'clone', message: /other files/ } })
    const plain = await create({ volume: { name: 'plain' } })
    await sh(plain.body.id, 'echo here > file')
    await end(plain.body.id)
    t.match(await create({ volume: { name: 'plain' }, git: { url } }), { status: 422, body: { code: 'CLONE_FAILED' } })
  })

  await t.test('A clone whose end was interrupted is carried on with in the next sandbox', async (t) => {
    const volume = { name: 'interrupted' }
    const { body: { id } } = await create({ volume })
    await sh(id, `git clone -q ${url} .cloning.done; mv .cloning.done/first.txt .; mkdir .cloning.7 .claude-sandbox; echo own > .claude-sandbox/file`)
    await end(id)
    const next = await create({ volume, git: { url } })
    t.equal(next.status, 200)
    t.equal(await sh(next.body.id, 'ls; git status --short; ls -A | grep cloning.done'), 'first.txt\nsecond.txt\n?? .claude-sandbox/\n')
    await end(next.body.id)
  })

  await t.test('It is known again, whatever git is configured to call where it comes from', async (t) => {
    const env = { GIT_CONFIG_COUNT: '1', GIT_CONFIG_KEY_0: 'clone.defaultRemoteName', GIT_CONFIG_VALUE_0: 'upstream' }
    for (let time = 0; time < 2; time++) {
      const { status, body: { id } } = await create({ volume: { name: 'renamed' }, git: { url }, env })
      t.equal(status, 200)
      await end(id)
    }
  })

  await t.test('A private one is cloned with the token of a secret, which is nowhere afterwards', async (t) => {
    const git = { url: urlInSandbox(locked.url) }
    t.match(await create({ git }), { status: 422, body: { code: 'CLONE_FAILED', step: 'clone' } })
    const { status, body: { id } } = await create({ git: { ...git, secretName: 'test-git' } })
    t.equal(status, 200)
    t.equal(await sh(id, 'ls'), 'first.txt\nsecond.txt\n')
    t.equal(await sh(id, `grep -r ${token} . 2>/dev/null; env | grep -c GIT_`), '0\n')
    await end(id)
  })

  await t.test('The token is not given to another host, to which the repository is redirected', async (t) => {
    const heard: Array<string | undefined> = []
    const thief = createServer(({ headers }, answer) => {
      heard.push(headers.authorization)
      answer.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end()
    })
    const redirecting = createServer(({ url }, answer) => {
      answer.writeHead(302, { location: urlInSandbox(`http://127.0.0.1:${portOf(thief)}${url}`) }).end()
    })
    for (const one of [thief, redirecting]) {
      one.listen(0, '127.0.0.1')
      await once(one, 'listening')
      t.teardown(() => { one.close() })
    }
    const url = urlInSandbox(`http://127.0.0.1:${portOf(redirecting)}/project.git`)
    t.match(await create({ git: { url, secretName: 'test-git' } }), { status: 422, body: { code: 'CLONE_FAILED' } })
    t.not(heard.length, 0, 'the redirection is followed')
    t.match(heard.filter((header) => header !== undefined), { length: 0 })
  })

  await t.test('What can not work is refused before anything is made', async (t) => {
    t.match(await create({ git: { url, secretName: 'other-git' } }), { status: 403, body: { code: 'FORBIDDEN', message: /other-git/ } })
    t.match(await create({ git: { url, secretName: 'test-none' } }), { status: 404, body: { code: 'SECRET_NOT_FOUND', step: 'git secret' } })
    t.match(await create({ git: { url }, network: { block: true } }), { status: 400, body: { message: /body\.git .*body\.network\.block/ } })
    for (const wrong of ['git@github.com:a/b', 'https://token@github.com/a/b', 'file:///etc', 'https://github.com']) {
      t.match(await create({ git: { url: wrong } }), { status: 400, body: { message: /^body\.git\.url / } }, wrong)
    }
    t.match(await create({ git: { url, branch: '--upload-pack=x' } }), { status: 400, body: { message: /^body\.git\.branch / } })
    t.match(await create({ git: { url, branch: 'none' } }), { status: 422, body: { code: 'CLONE_FAILED', message: /none/ } })
  })
})
