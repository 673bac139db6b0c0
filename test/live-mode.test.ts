import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { testEmulator } from './helpers/emulator.js'
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

for (const file of ['test/live/modal-facts.test.ts', 'test/integration/exec.test.ts']) {
  t.test(`Without Modal credentials the live tests skip, and say what to set: ${file} (8.2)`, async (t) => {
    for (const env of [{}, { MODAL_TOKEN_ID: 'ak-1' }]) {
      const { code, output } = await runLive(file, env)
      t.equal(code, 0)
      t.match(output, /# SKIP Modal credentials are not configured: set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET/)
      t.notMatch(output, /^\s*ok (?!.*# SKIP)/m, 'no test has run')
    }
  })
}

t.test('The live tests speak to Modal with the configured credentials (8.1)', async (t) => {
  const emulator = await testEmulator()
  t.teardown(() => emulator.stop())
  const { code, output } = await runLive('test/live/modal-facts.test.ts', {
    MODAL_SERVER_URL: emulator.url, MODAL_TOKEN_ID: emulator.tokenId, MODAL_TOKEN_SECRET: 'as-another'
  })
  t.equal(code, 1)
  t.match(output, /Wrong token ID or secret/, 'Modal judges them: they are sent, and nothing is made without them')
})
