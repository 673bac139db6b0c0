import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { keys, skip, startService } from '../helpers/service.js'

const run = promisify(execFile)
const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8')

t.test('The README\'s API example works when pasted (6.1-6.9)', { skip }, async (t) => {
  const service = await startService()
  const home = await mkdtemp(join(tmpdir(), 'readme-'))
  t.teardown(async () => {
    await service.close()
    await rm(home, { recursive: true })
  })
  await mkdir(join(home, '.data'))
  await writeFile(join(home, '.data', 'development-key'), keys.alice)

  const example = /## The API by example[\s\S]*?```sh\n([\s\S]*?)```/.exec(readme)![1]!
  const script = example.replaceAll('localhost:3000', new URL(service.url).host)
  const { stdout, stderr } = await run('bash', ['-ec', script], { cwd: home, maxBuffer: 16 * 1024 * 1024 })
  t.equal(stderr, '')
  t.notMatch(stdout, /"statusCode"/, 'no error answer')
  t.match(stdout, /event: run.completed[\s\S]*"outcome":"result"/)
  t.match(stdout, /"status":"terminated"/)
})

t.test('The README names every variable that the configuration reads, and no other', async (t) => {
  const config = await readFile(new URL('../../config.ts', import.meta.url), 'utf8')
  const declared = config.slice(config.indexOf('const Environment'), config.indexOf('type Environment'))
  const read = new Set([...declared.matchAll(/^ {2}([A-Z][A-Z0-9_]+):/gm)].map(([, name]) => name!))
  const table = /## Configuration[\s\S]*?(?=\n## )/.exec(readme)![0]
  const named = new Set([...table.matchAll(/`([A-Z][A-Z0-9_]{3,})`/g)].map(([, name]) => name!))
  t.same([...read].filter((name) => !named.has(name)), [], 'not explained')
  t.same([...named].filter((name) => !read.has(name) && name !== 'MODAL_SANDBOX_V2'), [], 'explained, but not read')
})
