import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cleanEnvironment, quote } from '../../services/modal/script.js'
import type { StartedRecord } from '../../services/runs/records.js'
import { prepareCommand } from '../../services/runs/run-directory.js'
import { syncLockScript } from '../../services/sync/lock.js'
import { installBusybox, noBusybox } from './busybox.js'

/** What acquires a lock in a sandbox, and what its holders look like. */
export interface LockUser {
  /** The lock's directory below the state directory. */
  lock: string
  /** argv of an attempt to acquire the lock, with the shell left out. It exits with 0, or with 75 when refused. */
  attempt: (state: string, id: string) => string[]
  /** Makes what a holder has before it acquires the lock, long ago or just now. */
  addHolder: (state: string, id: string, at: Date) => Promise<void>
}

/** For both users so long ago that a holder of then is dead. */
const longAgo = () => new Date(Date.now() - 5 * 60_000)

/** Ids as runs have them; a contest's ids must not be found in the command line of anything else. */
export const runId = (name: string | number) => `run_${String(name).padStart(20, '0')}`

export const runLock: LockUser = {
  lock: 'run-lock',
  attempt: (state, id) =>
    prepareCommand({ state, runs: join(state, 'runs'), workdir: join(state, 'workdir') }, { run: id, prompt: '' } as StartedRecord).slice(1),
  addHolder: async (state, id, at) => {
    await mkdir(join(state, id), { recursive: true })
    await utimes(join(state, id), at, at)
  }
}

export const syncLock: LockUser = {
  lock: 'sync-lock',
  attempt: (state, id) => ['-c', syncLockScript, 'sync-lock', state, 'acquire', id],
  addHolder: async (state, id, at) => {
    await writeFile(join(state, id), '')
    await utimes(join(state, id), at, at)
  }
}

export interface Userland { name: string, shell: string, env: Record<string, string> }

/** The shells and tools of a Debian image and of one with busybox alone, as far as they are installed here. */
export async function userlands (directory: string): Promise<Userland[]> {
  // A run needs them, but not to get the lock.
  const needed = join(directory, 'needed')
  await mkdir(needed)
  for (const name of ['claude', 'script']) await writeFile(join(needed, name), '', { mode: 0o755 })
  const found: Userland[] = [{ name: 'dash and GNU tools', shell: 'sh', env: { PATH: `${process.env['PATH']}:${needed}` } }]
  if (noBusybox === false) {
    await installBusybox(directory)
    found.push({ name: 'busybox', shell: join(directory, 'bin', 'sh'), env: { PATH: `${join(directory, 'bin')}:${needed}` } })
  }
  return found
}

/** Dead holders that the lock has at first, the oldest first. */
export async function addDeadHolders (user: LockUser, state: string, ids: string[]): Promise<void> {
  const lock = join(state, user.lock)
  await mkdir(lock, { recursive: true })
  for (const [index, id] of ids.entries()) {
    await user.addHolder(state, id, longAgo())
    await symlink(id, join(lock, index === 0 ? 'head' : `${ids[index - 1]!}.next`))
  }
}

/** So many attempts at once. @returns how many have acquired the lock. @throws when one fails otherwise. */
export async function contest (
  user: LockUser, { shell, env }: Userland, dead: number, contenders = 8
): Promise<number> {
  const state = await mkdtemp(join(tmpdir(), 'locks-'))
  try {
    await addDeadHolders(user, state, Array.from({ length: dead }, (_, index) => runId(`dead${index}`)))
    const attempts = Array.from({ length: contenders }, (_, index) =>
      ['(: < "$gate"; exec', shell, ...user.attempt(state, runId(index)).map(quote), '< /dev/null > /dev/null 2>&1; ) & pids="$pids $!"'].join(' '))
    // All wait at a gate until its other end is opened; it stays open for those that come late.
    const script = ['gate=$1 pids=', 'mkfifo "$gate"', ...attempts, 'sleep 0.05', 'exec 9> "$gate"',
      'for pid in $pids; do wait $pid; echo $?; done'].join('\n')
    const codes = (await output('sh', ['-s', join(state, 'gate')], script, { ...env, PATH: `${env['PATH']}:/usr/bin:/bin` })).trim().split('\n')
    if (codes.length !== contenders || codes.some((code) => !['0', '75'].includes(code))) throw new Error(`exit codes: ${codes}`)
    return codes.filter((code) => code === '0').length
  } finally {
    await rm(state, { recursive: true, force: true })
  }
}

/** The commands whose steps matter to a lock. */
const steps = ['ln', 'mv', 'rm', 'readlink', 'mkdir', 'touch']

/** What happens at steps of an attempt; a step is before or after one of its commands. */
export interface Interruption {
  /** A script that runs at a step. */
  hook?: { step: number, script: string }
  /** The step at which the attempt is killed. */
  killAt?: number
}

/** @returns what came of it: its exit code, whether it was killed, and how many steps it took. */
export async function attemptInterrupted (
  user: LockUser, { shell, env }: Userland, state: string, id: string, { hook, killAt }: Interruption
): Promise<{ status: number | null, killed: boolean, steps: number }> {
  const [flag, script, ...rest] = user.attempt(state, id)
  // The counter is a file, as some steps happen in subshells.
  const counter = join(state, 'steps')
  await writeFile(counter, '0\n')
  // A shell of its own, so that its commands are no steps.
  await writeFile(join(state, 'hook'), hook?.script ?? '')
  const count = `step_done () { read -r step < '${counter}'; step=$((step + 1)); echo $step > '${counter}'
    [ $step != ${hook?.step ?? 0} ] || '${shell}' '${join(state, 'hook')}'; [ $step != ${killAt ?? 0} ] || kill -KILL $$; }`
  const wrapped = steps.map((name) =>
    `${name} () { step_done; command ${name} "$@"; step_result=$?; step_done; return $step_result; }`)
  // The lock of the sync begins by removing what an image may have defined.
  const [cleaning, own] = script!.startsWith(cleanEnvironment) ? [cleanEnvironment, script!.slice(cleanEnvironment.length)] : ['', script!]
  const { status, signal } = spawnSync(shell, [flag!, [cleaning, count, ...wrapped, own].join('\n'), ...rest], { env, stdio: 'ignore' })
  // A minute later it is no longer a newcomer.
  if (signal !== null && existsSync(join(state, id))) await user.addHolder(state, id, longAgo())
  return { status, killed: signal !== null, steps: Number(readFileSync(counter, 'utf8')) }
}

/** One attempt, alone. @returns its exit code and what it said. */
export function attempt (
  user: LockUser, { shell, env }: Userland, state: string, id: string
): { status: number | null, stdout: string } {
  const { status, stdout } = spawnSync(shell, user.attempt(state, id), { env, input: '', encoding: 'utf8' })
  return { status, stdout }
}

async function output (command: string, args: string[], stdin: string, env: Record<string, string>): Promise<string> {
  const child = spawn(command, args, { env, stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.end(stdin)
  let text = ''
  for await (const chunk of child.stdout) text += chunk
  return text
}
