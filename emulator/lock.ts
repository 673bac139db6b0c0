import { createHash } from 'node:crypto'
import { mkdir, realpath } from 'node:fs/promises'
import { createServer } from 'node:net'
import { StartProblem } from '../lib/start-problem.js'

/**
 * Makes this process the only one that uses a data directory. The lock is an abstract socket, which the kernel releases
 * with the process: no stale lock can be left behind.
 * @throws {StartProblem} when another emulator holds it
 */
export async function lockDirectory (directory: string): Promise<{ release: () => Promise<void> }> {
  await mkdir(directory, { recursive: true })
  const digest = createHash('sha256').update(await realpath(directory)).digest('hex')
  const server = createServer((socket) => socket.destroy())
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => reject(new StartProblem(
      `Another emulator uses the data directory ${directory}: end that one, or set DATA_DIR to another.`, { cause }
    )))
    server.listen(`\0modal-emulator-${digest}`, resolve)
  })
  server.unref()
  return { release: () => new Promise((resolve) => server.close(() => resolve())) }
}
