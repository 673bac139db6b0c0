import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { isolation } from './isolation.js'
import { loader } from './spawn-node.js'

const uid = '12345'

/** As root, runs the whole test file again as an ordinary user, in a process of its own. */
export function repeatAsUser (t: Test, url: string): void {
  if (process.getuid!() !== 0) return
  const file = fileURLToPath(url)
  const become = ['--reuid', uid, '--regid', uid, '--clear-groups']
  try {
    execFileSync('setpriv', [...become, process.execPath, '-e', `require('fs').readFileSync(${JSON.stringify(file)})`], { stdio: 'ignore' })
  } catch {
    t.test('the same as an ordinary user', { skip: 'that user may not read this directory' }, () => {})
    return
  }
  // `env -i` also drops what tap puts into the environment to measure coverage: that user could not write the files.
  const temporary = process.env.TMPDIR === undefined ? [] : [`TMPDIR=${process.env.TMPDIR}`]
  const env = [`PATH=${process.env.PATH}`, 'TAP=1', 'TAP_TIMEOUT=400', `TEST_RUNTIME=${isolation}`, 'TEST_REPEATED=1', ...temporary]
  const command = ['setpriv', ...become, process.execPath, '--import', loader, file]
  t.spawn('env', ['-i', ...env, ...command], { cwd: '/' }, 'the same as an ordinary user')
}
