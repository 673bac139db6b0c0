import { copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { findClaudeBinary } from '../../emulator/container/claude-binary.js'
import { installBusybox, noBusybox } from '../helpers/busybox.js'
import { noClaude, startClaudeRegistry } from '../helpers/claude-registry.js'
import { installLibraries, installPrograms } from '../helpers/glibc-image.js'
import { isolation } from '../helpers/isolation.js'
import { readSse, skip as notHere, startService } from '../helpers/service.js'

const path = '/api/modal/sandbox'
const version = '2.1.330'
const live = process.env.TEST_LIVE === '1' && 'it needs images of this machine'
const linker = `/lib/ld-musl-${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}.so.1`
/** Its `read` of a socket does not wait for anything. */
const noWget = isolation === 'runsc' && 'busybox\'s wget does not work on gVisor of 2022'
const noLinker = !existsSync(linker) && 'musl is not installed'

t.test('Claude in images of one\'s own (1.1)', { skip: notHere || live || noBusybox || noClaude }, async (t) => {
  const image = async (name: string) => {
    const root = join(directory, name)
    for (const name of ['tmp', 'proc', 'dev', 'etc', 'root', 'sys', 'run', 'workspace', 'lib', 'usr/bin']) {
      mkdirSync(join(root, name), { recursive: true })
    }
    await installBusybox(root)
    return root
  }
  const directory = t.testdir({})
  const [glibc, musl, none, own] = await Promise.all(['glibc', 'musl', 'none', 'own'].map(image)) as [string, string, string, string]
  await installPrograms(glibc, ['bash', 'script', ...noWget ? ['curl'] : []])
  await installLibraries(glibc, findClaudeBinary()!)
  for (const root of [musl, none, own]) program(root, 'bash', 'exec sh "$@"')
  // No terminal, as that takes util-linux; the rest of its work.
  for (const root of [musl, none, own]) program(root, 'script', 'exec sh -c "$2"')
  if (noLinker === false) copyFileSync(linker, join(musl, linker))
  program(own, 'claude', 'echo 1.0.0-own')
  const registry = await startClaudeRegistry(t, version)
  const service = await startService({
    EMULATOR_IMAGES: JSON.stringify({ glibc, musl, none, own }),
    CLAUDE_NPM_REGISTRY: `${registry.url}/`,
    CLAUDE_VERSION: version
  })
  t.teardown(service.close)

  const request = async (url: string, method: string, json?: object) => {
    const response = await service.request(url, { method, json, headers: { accept: 'application/json' } })
    return { status: response.status, body: await response.json() as any }
  }
  const create = async (image: object) => await request(path, 'POST', { image })
  const sh = async (id: string, script: string) =>
    (await request(`${path}/${id}/exec`, 'POST', { command: ['sh', '-c', script] })).body.stdout
  const run = async (id: string) => {
    const turns = [[{ tool: 'Bash', input: { command: 'echo from-claude > made.txt' } }]]
    const response = await service.request(`${path}/${id}/claude`, {
      method: 'POST', json: { prompt: `Please\n\`\`\`scripted\n${JSON.stringify(turns)}\n\`\`\`` }
    })
    const received = []
    for await (const event of readSse(response)) received.push(event)
    return received.at(-1)
  }

  await t.test('One with glibc gets it, and a run works there', async (t) => {
    const { status, body } = await create({ registry: 'glibc', dockerfileCommands: ['RUN /opt/claude/bin/claude --version > /version'] })
    t.equal(status, 200, JSON.stringify(body))
    t.match(await sh(body.id, 'cat /version'), version, 'it is there before the commands of the image')
    t.match(await run(body.id), { event: 'run.completed', data: { outcome: 'result', isError: false } })
    t.equal(await sh(body.id, 'cat made.txt'), 'from-claude\n')
  })

  await t.test('One with musl gets the program for musl', { skip: noLinker || noWget || registry.noMusl }, async (t) => {
    const { status, body } = await create({ registry: 'musl' })
    t.equal(status, 200, JSON.stringify(body))
    t.match(await sh(body.id, '/opt/claude/bin/claude --version'), version)
  })

  await t.test('One that has it already is left alone', async (t) => {
    const before = registry.asked.length
    const { body } = await create({ registry: 'own' })
    t.equal(await sh(body.id, 'claude; ls /opt'), '1.0.0-own\n')
    t.equal(registry.asked.length, before)
  })

  await t.test('Where it cannot be installed the build says why, and what to do', async (t) => {
    const { status, body } = await create({ registry: 'none' })
    t.equal(status, 422)
    t.match(body, { code: 'IMAGE_BUILD_FAILED', message: /neither glibc nor musl\. Set image\.claude to false/ })
  })

  await t.test('One without it can be used, but for a run of Claude', async (t) => {
    const { status, body } = await create({ registry: 'none', claude: false })
    t.equal(status, 200, JSON.stringify(body))
    t.equal(await sh(body.id, 'ls /opt 2>&1 | wc -l'), '1\n')
    const refused = await request(`${path}/${body.id}/claude`, 'POST', { prompt: 'x' })
    t.match(refused, { status: 409, body: { code: 'NO_CLAUDE', hint: /image\.claude/ } })
    t.strictSame((await request(`${path}/${body.id}/claude`, 'GET')).body.runs, [], 'nothing of it is left')
  })
})

function program (root: string, name: string, script: string) {
  writeFileSync(join(root, 'bin', name), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
}
