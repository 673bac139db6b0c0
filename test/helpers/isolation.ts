import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { Isolation } from '../../emulator/container/types.js'
import { loader } from './spawn-node.js'

const { TEST_RUNTIME: runtime, TEST_ON_GVISOR: onGvisor } = process.env
/** A pattern chooses the test files whose sandboxes run on gVisor. */
const isChosen = onGvisor !== undefined && new RegExp(onGvisor).test(process.argv[1] ?? '')

/** What isolates the tests' sandboxes, whatever is installed: gVisor makes everything a few times slower. */
export const isolation: Isolation = runtime === 'runsc' || isChosen ? 'runsc' : 'namespaces'

export const noGvisor = existsSync('/usr/bin/runsc') ? false : 'runsc is not installed'

/** Runs the whole test file again on gVisor, in a process of its own. */
export function repeatOnGvisor (t: Test, url: string): void {
  if (isolation === 'runsc' || process.env['TEST_REPEATED'] !== undefined) return
  if (noGvisor) {
    t.test('the same on gVisor', { skip: noGvisor }, () => {})
    return
  }
  const env = [`PATH=${process.env.PATH}`, 'TAP=1', 'TAP_TIMEOUT=400', 'TEST_RUNTIME=runsc', `TMPDIR=${process.env.TMPDIR ?? '/tmp'}`]
  const command = [process.execPath, '--import', loader, fileURLToPath(url)]
  t.spawn('env', ['-i', ...env, ...command], { cwd: '/' }, 'the same on gVisor')
}
