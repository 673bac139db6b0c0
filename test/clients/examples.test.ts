import { once } from 'node:events'
import { cp, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { noS3, startS3, s3Settings } from '../helpers/s3.js'
import { accountIds, keys, live, startService } from '../helpers/service.js'
import { digest } from '../../lib/ids.js'
import { spawnNode } from '../helpers/spawn-node.js'
import { compile, installClient } from '../helpers/typescript-client.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const examples = join(root, 'clients/typescript/examples')
const skip = live && 'the client is the same, whatever the service talks to'

t.test('examples of the TypeScript client', { skip }, async (t) => {
  const s3 = noS3 ? undefined : await startS3()
  t.teardown(() => s3?.close())
  await s3?.createBucket('work')
  const service = await startService({
    ACCOUNTS: JSON.stringify([{ id: accountIds.alice, apiKeys: [`sha256:${digest(keys.alice)}`], s3: [{ bucket: 'work' }] }]),
    ...s3 !== undefined && s3Settings(s3)
  })
  t.teardown(() => service.close())
  const { project } = await installClient(t)
  for (const file of await examplesOf()) await cp(join(examples, file), join(project, file))

  /** What an example prints. */
  async function play (file: string, env: Record<string, string> = {}) {
    const child = spawnNode([join(project, file)], {
      cwd: project,
      env: { PATH: process.env.PATH, SERVICE_URL: service.url, SERVICE_KEY: keys.alice, ...env },
      stdio: ['ignore', 'pipe', 'pipe']
    })
    const [output, errors, [code]] = await Promise.all([textOf(child.stdout!), textOf(child.stderr!), once(child, 'exit')])
    return { code, output, errors }
  }
  const expected: Record<string, { output: RegExp[], env?: Record<string, string>, skip?: string | false }> = {
    'start-and-watch.ts': { output: [/^app: started\n/, /\nready: done\n/, /Scripted demo model/, /\nresult, for [\d.]+ US dollars\n$/] },
    'approve-a-tool.ts': { output: [/Write: allowed/, /result\n$/] },
    'asynchronous-run.ts': { output: [/^run_\w+ was started\n/, /\nresult, after \d+ events\n$/] },
    'sync.ts': { output: [/date\.txt/, /exit code 0/, /1 copied and 1 verified, 0 were there already\n$/], skip: noS3 },
    'batch.ts': { output: [/0: result, [\d.]+ US dollars/, /\n4 of 4 done\n$/], env: { PROMPTS: '4', SANDBOXES: '2' } }
  }

  for (const [file, { output: patterns, env, skip = false }] of Object.entries(expected)) {
    await t.test(`${file} does what it says`, { skip }, async (t) => {
      const { code, output, errors } = await play(file, env)
      t.equal(errors, '')
      t.equal(code, 0)
      for (const pattern of patterns) t.match(output, pattern)
    })
  }

  await t.test('Their sandboxes are ended', async (t) => {
    const { sandboxes } = await (await service.request('/api/modal/sandbox')).json() as { sandboxes: [] }
    t.strictSame(sandboxes, [])
  })

  await t.test('An error is told with its code and what to do', async (t) => {
    const { code, errors } = await play('start-and-watch.ts', { SERVICE_KEY: 'wrong' })
    t.match(errors, /^UNAUTHENTICATED: .*\n$/)
    t.equal(code, 1)
  })

  await t.test('What the client\'s README shows compiles, and codes are those of the route', async (t) => {
    const readme = await readFile(join(examples, '../README.md'), 'utf8')
    const shown = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code).join('')
    // An unused directive is an error.
    const wrong = '// @ts-expect-error\nif (error?.code === \'SYNC_ACTIVE\') console.log(data)\n'
    await writeFile(join(project, 'readme.mts'), `const id = 'sb-1'\n${shown}${wrong}`)
    await writeFile(join(project, 'tsconfig.json'), JSON.stringify({
      compilerOptions: { strict: true, module: 'nodenext', noEmit: true, types: ['node'], typeRoots: [join(root, 'node_modules/@types')] },
      files: ['readme.mts']
    }))
    t.equal(await compile(project), '')
  })

  await t.test('There is no example that is not played, and each is short', async (t) => {
    const files = await examplesOf()
    t.strictSame(files.toSorted(), Object.keys(expected).toSorted())
    for (const file of files) {
      const lines = (await readFile(join(examples, file), 'utf8')).split('\n').length - 1
      t.ok(lines >= 20 && lines <= 50, `${file} has ${lines} lines`)
    }
  })
})

async function examplesOf () {
  return (await readdir(examples)).filter((file) => file.endsWith('.ts'))
}

async function textOf (stream: NodeJS.ReadableStream): Promise<string> {
  let text = ''
  for await (const chunk of stream.setEncoding('utf8')) text += chunk
  return text
}
