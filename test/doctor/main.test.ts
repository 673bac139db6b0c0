import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { openEmulator } from '../helpers/emulator.js'
import { spawnNode } from '../helpers/spawn-node.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { emulator, skip } = await openEmulator(t)
const client = emulator.modal()

/** The doctor as an operator starts it, with these variables and no others. */
function start (env: Record<string, string>, ...args: string[]) {
  const child = spawnNode(['doctor/main.ts', ...args], {
    cwd: root, env: { PATH: process.env.PATH, CLAUDE_IMAGE: 'local', ...env }, stdio: ['ignore', 'pipe', 'pipe']
  })
  let [out, err] = ['', '']
  child.stdout!.on('data', (chunk: Buffer) => { out += chunk.toString() })
  child.stderr!.on('data', (chunk: Buffer) => { err += chunk.toString() })
  const ended = once(child, 'close').then(([code]) => ({ code, out, err }))
  return { child, ended }
}

const { url, tokenId, tokenSecret } = emulator
const credentials = { MODAL_SERVER_URL: url, MODAL_TOKEN_ID: tokenId, MODAL_TOKEN_SECRET: tokenSecret }

async function left () {
  const names = []
  for await (const { sandboxId } of client.sandboxes.list()) names.push(sandboxId)
  return names
}

t.test('Before going live: ten things asked of Modal, as a table, and nothing is left (8.1)', { skip }, async (t) => {
  const { code, out, err } = await start(credentials).ended
  t.equal(code, 0, out + err)
  t.equal(out.match(/^\| ok \|/gm)?.length, 10)
  t.match(out, /10 asked, 0 not as needed; about \$0\.\d{4}\./)
  t.strictSame(await left(), [])
})

t.test('Stopped in the middle, it still ends what it has created', { skip }, async (t) => {
  const { child, ended } = start(credentials, '--all')
  await new Promise<void>((resolve) => child.stderr!.on('data', (chunk: Buffer) => { if (chunk.includes('1/')) resolve() }))
  t.equal((await left()).length, 1)
  child.kill('SIGINT')
  const { code, out } = await ended
  t.equal(code, 1)
  t.match(out, /All sandboxes have ended/)
  t.strictSame(await left(), [])
})

t.test('Without a token, or with a wrong one, it says what to do, and no more (8.2)', async (t) => {
  const without = await start({}).ended
  t.equal(without.code, 1)
  t.match(without.err, /MODAL_TOKEN_ID is missing\n.*MODAL_TOKEN_SECRET is missing/)
  const wrong = await start({ ...credentials, MODAL_TOKEN_SECRET: 'as-another' }).ended
  t.equal(wrong.code, 1)
  t.match(wrong.err, /Wrong token ID or secret/)
  t.notMatch(wrong.err, /^\s+at /m)
})
