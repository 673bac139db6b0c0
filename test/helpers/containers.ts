import { mkdtemp, readdir, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { removeTree } from '../../emulator/container/host.js'
import { createRuntime } from '../../emulator/container/runtime.js'
import type {
  Container, ContainerRuntime, ContainerSpec, ExecSpec, ExitStatus, Spool
} from '../../emulator/container/types.js'

export const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

export interface Outcome { status: ExitStatus, out: string, err: string }

/** A runtime on a data directory of its own, for the containers of one test file. */
export async function openRuntime (dataDir?: string) {
  const directory = dataDir ?? await mkdtemp(join(tmpdir(), 'emulator-container-'))
  const runtime = await createRuntime({ dataDir: directory, log: { warn () {} } })
  const close = async () => {
    await runtime.close()
    await removeTree(directory)
  }
  return { runtime, directory, close }
}

/** Starts a container of the base `local` that sleeps, unless told otherwise. */
export async function startContainer (runtime: ContainerRuntime, spec: Partial<ContainerSpec> = {}) {
  return await runtime.start({
    id: 'box',
    rootfs: { base: { kind: 'local' }, layers: [] },
    volumes: [],
    env: { PATH: path, HOME: '/root' },
    workdir: '/',
    command: [],
    network: 'host',
    ...spec
  })
}

/** Runs a shell script in a container to its end, with nothing on its standard input. */
export async function sh (container: Container, script: string, spec: Partial<ExecSpec> = {}): Promise<Outcome> {
  const process = await container.exec({ command: ['/bin/sh', '-c', script], ...spec })
  if (spec.pty === undefined) process.stdin.end()
  const [status, out, err] = await Promise.all([process.exited, text(process.stdout), text(process.stderr)])
  return { status, out, err }
}

export async function text (spool: Spool): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of spool.read(0)) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

/** Waits until the output contains `part`. */
export async function seen (spool: Spool, part: string): Promise<string> {
  let all = ''
  for await (const chunk of spool.read(0)) {
    all += chunk.toString()
    if (all.includes(part)) return all
  }
  throw new Error(`the output ended without ${JSON.stringify(part)}: ${JSON.stringify(all)}`)
}

/** Processes of the whole machine with `mark` in their command line. */
export async function processesWith (mark: string): Promise<number[]> {
  const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 0 && pid !== process.pid)
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')))
  return pids.filter((_pid, index) => lines[index]!.includes(mark))
}

/** Asks until the answer is true, for so long at most. */
export async function eventually (condition: () => Promise<boolean>, longestMs = 10_000): Promise<boolean> {
  for (const end = Date.now() + longestMs; Date.now() < end;) {
    if (await condition()) return true
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return false
}
