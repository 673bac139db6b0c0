import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { spawnNode } from './helpers/spawn-node.js'

const root = fileURLToPath(new URL('..', import.meta.url))

/** What a test file prints in a process that has these variables and no others. */
async function runLive (file: string, env: Record<string, string | undefined>) {
  const child = spawnNode([file], {
    cwd: root, env: { PATH: process.env.PATH, TAP: '1', TEST_LIVE: '1', ...env }, stdio: ['ignore', 'pipe', 'ignore']
  })
  let output = ''
  child.stdout!.on('data', (chunk: Buffer) => { output += chunk.toString() })
  const [code] = await once(child, 'close')
  return { code, output }
}

t.test('Without Modal credentials the live tests skip, and say what to set (8.2)', async (t) => {
  for (const env of [{}, { MODAL_TOKEN_ID: 'ak-1' }]) {
    const { code, output } = await runLive('test/integration/exec.test.ts', env)
    t.equal(code, 0)
    t.match(output, /# SKIP Modal credentials are not configured: set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET/)
    t.notMatch(output, /^\s*ok (?!.*# SKIP)/m, 'no test has run')
  }
})
