import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { removeTree } from '../../emulator/container/host.js'
import { createRuntime } from '../../emulator/container/runtime.js'
import type {
  Container, ContainerRuntime, ContainerSpec, ExecSpec, ExitStatus, Isolation, Spool
} from '../../emulator/container/types.js'
import { isolation } from './isolation.js'

export const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

interface Outcome { status: ExitStatus, out: string, err: string }

/** A runtime on a data directory of its own. */
export async function openRuntime (dataDir?: string, kind: Isolation = isolation) {
  const directory = dataDir ?? await mkdtemp(join(tmpdir(), 'emulator-container-'))
  const runtime = await createRuntime({ dataDir: directory, log: { warn () {} }, isolation: kind })
  const close = async () => {
    await runtime.close()
    await removeTree(directory)
  }
  return { runtime, directory, close }
}

/** A runtime for the tests of one file; `skip` says why containers don't work on this machine. */
export async function runtimeFor (t: Test) {
  const { runtime, directory, close } = await openRuntime()
  t.teardown(close)
  const selfTest = await runtime.selfTest()
  return { runtime, directory, selfTest, skip: selfTest.ok ? false : selfTest.message }
}

/** A directory of the host that no container may reach. */
export async function hostDirectory (t: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'host-only-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

/** Names and contents of a directory of the host. */
export async function readHost (path: string): Promise<string> {
  const names = (await readdir(path)).sort()
  return (await Promise.all(names.map(async (name) =>
    `${name}: ${await readFile(join(path, name), 'utf8').catch(() => 'directory')}`))).join(' ')
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
    network: 'open',
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

/** Asks until the answer is true. The limit only ends a test that fails: it is far longer than a busy machine needs. */
export async function eventually (condition: () => Promise<boolean>, limitMs = 30_000): Promise<boolean> {
  for (const end = Date.now() + limitMs; Date.now() < end;) {
    if (await condition()) return true
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return false
}
