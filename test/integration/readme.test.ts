import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { keys, skip, startService } from '../helpers/service.js'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
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

t.test('What the documents link to, and the scripts they name, are there', async (t) => {
  const { scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  const below = async (folder: string) =>
    (await readdir(join(root, folder), { recursive: true })).map((file) => join(folder, file))
  const documents = [...await readdir(root), ...await below('docs'), ...await below('emulator'), ...await below('clients/typescript')]
    .filter((file) => file.endsWith('.md'))
  t.ok(documents.includes('CONTRIBUTING.md'))
  for (const document of documents) {
    const text = await readFile(join(root, document), 'utf8')
    for (const [, link] of text.matchAll(/\]\((?!https?:|#)([^)#\s]+)/g)) {
      t.ok(existsSync(join(root, dirname(document), link!)), `${document} links to ${link}`)
    }
    for (const [, script] of text.matchAll(/npm run (?:-\w+ )?([\w:-]+)/g)) t.ok(script! in scripts, `${document} names npm run ${script}`)
    for (const [, file] of text.matchAll(/(\.ci\/\w+)/g)) t.ok(existsSync(join(root, file!)), `${document} names ${file}`)
  }
})
