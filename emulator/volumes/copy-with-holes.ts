import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { onHost } from '../container/host.js'
import { isNoSpace } from '../lib/no-space.js'

/**
 * Copies an open file without filling its holes, of which there may be more than the disk has room for. It runs `cp`,
 * because Node can't look for holes. @throws {Error} with the `code` ENOSPC when the disk is full
 */
export async function copyWithHoles (file: number, target: string): Promise<void> {
  const [program, ...rest] = onHost(['cp', '--sparse=auto', '--reflink=auto', '--', '/proc/self/fd/3', target])
  const child = spawn(program!, rest, { env: {}, cwd: '/', stdio: ['ignore', 'ignore', 'pipe', file] })
  let stderr = ''
  child.stderr!.on('data', (text) => { stderr = `${stderr}${text}`.slice(-500) })
  const [code] = await once(child, 'close')
  if (code === 0) return
  const error = Object.assign(new Error(`cp: ${stderr.trim()}`), { stderr })
  throw isNoSpace(error) ? Object.assign(error, { code: 'ENOSPC' }) : error
}
