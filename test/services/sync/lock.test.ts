import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, readdir, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { exitLocked } from '../../../services/modal/lock.js'
import { cleanEnvironment } from '../../../services/modal/script.js'
import { syncLockScript } from '../../../services/sync/lock.js'
import { installBusybox, noBusybox } from '../../helpers/busybox.js'

/** Of contests, for each state that a lock may be in. */
const rounds = 4
const acquirers = 8
const deadForMs = 41_000

/** Counts the commands that change or read the lock, and kills the script before or after one of them. */
const killSwitch = `
step () {
  printf . >> "$steps"
  [ "$(wc -c < "$steps")" -ne "$kill_at" ] || kill -KILL $$
}
${['ln', 'mv', 'rm', 'readlink', 'mkdir', 'touch'].map((name) => `
${name} () { step; command ${name} "$@"; code=$?; step; return $code; }`).join('')}
`

const killable = syncLockScript.replace(cleanEnvironment, () => cleanEnvironment + killSwitch)

interface Shell { sh: string, env: NodeJS.ProcessEnv }
interface Ended { exitCode: number | null, signal: NodeJS.Signals | null, stdout: string }

const folder = await mkdtemp(join(tmpdir(), 'sync-lock-'))
t.teardown(() => rm(folder, { recursive: true }))
if (!noBusybox) await installBusybox(join(folder, 'busybox'))
const bin = join(folder, 'busybox/bin')
const shells: [string, Shell, string | false][] = [
  ['the shell of this machine', { sh: 'sh', env: process.env }, false],
  ['busybox', { sh: join(bin, 'sh'), env: { PATH: bin } }, noBusybox]
]

for (const [name, { sh, env }, skip] of shells) {
  let count = 0
  const newState = () => join(folder, `${name}-${count++}`)
  /** Starts a command of the lock, which waits for a line. */
  const start = (state: string, action: string, id: string, script = `read -r go\n${syncLockScript}`, more = {}) => {
    const child = spawn(sh, ['-c', script, 'sync-lock', state, action, id], {
      env: { ...env, ...more }, stdio: ['pipe', 'pipe', 'ignore']
    })
    let stdout = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => { stdout += text })
    child.stdin.on('error', () => {})
    const ended = once(child, 'close').then(([exitCode, signal]): Ended => ({ exitCode, signal, stdout }))
    return { go: () => { child.stdin.end('\n\n') }, ended }
  }
  const run = async (...args: Parameters<typeof start>) => {
    const { go, ended } = start(...args)
    go()
    return await ended
  }
  const race = async (...commands: ReturnType<typeof start>[]) => {
    for (const { go } of commands) go()
    return await Promise.all(commands.map(({ ended }) => ended))
  }
  /** Makes every holder look dead. */
  const age = async (state: string) => {
    const then = new Date(Date.now() - deadForMs)
    for (const file of await readdir(state).catch(() => [])) {
      if (file.startsWith('sync_')) await utimes(join(state, file), then, then)
    }
  }
  const scenes: Record<string, (state: string) => Promise<void>> = {
    'a lock that nobody ever had': async () => {},
    'a dead holder': async (state) => {
      await run(state, 'acquire', 'sync_dead')
      await age(state)
    },
    'a dead holder with a dead successor': async (state) => {
      await run(state, 'acquire', 'sync_dead')
      await writeFile(join(state, 'sync_heir'), '')
      await symlink('sync_heir', join(state, 'sync-lock', 'sync_dead.next'))
      await age(state)
    },
    'a holder that has released it': async (state) => {
      await run(state, 'acquire', 'sync_first')
      await run(state, 'release', 'sync_first')
    }
  }

  t.test(`The sync lock with ${name}`, { skip }, async (t) => {
    await t.test('Of eight that want it at once one gets it', async (t) => {
      for (const [scene, prepare] of Object.entries(scenes)) {
        for (let round = 0; round < rounds; round++) {
          const state = newState()
          await prepare(state)
          const all = await race(...Array.from({ length: acquirers }, (_, n) => start(state, 'acquire', `sync_${n}`)))
          const codes = all.map(({ exitCode }) => exitCode).sort()
          t.strictSame(codes, [0, ...Array(acquirers - 1).fill(exitLocked)], `${scene}, round ${round}`)
          const winner = all.findIndex(({ stdout }) => stdout === 'acquired\n')
          t.equal((await run(state, 'keep', `sync_${winner}`)).exitCode, 0)
          t.match((await run(state, 'show', '')).stdout, /^active/)
        }
      }
    })

    await t.test('A holder that comes back and its successor never both go on', async (t) => {
      for (let round = 0; round < 3 * rounds; round++) {
        const state = newState()
        await scenes['a dead holder']!(state)
        const [kept, acquired] = await race(start(state, 'keep', 'sync_dead'), start(state, 'acquire', 'sync_next'))
        t.notOk(kept!.exitCode === 0 && acquired!.exitCode === 0, `round ${round}`)
      }
    })

    await t.test('One that is killed at any point, acquiring or releasing it, leaves a lock that the next one gets', async (t) => {
      for (const [action, scene] of [
        ['acquire', 'a lock that nobody ever had'], ['acquire', 'a dead holder with a dead successor'],
        ['release', 'a dead holder']
      ] as const) {
        const prepared = newState()
        await mkdir(prepared)
        await scenes[scene]!(prepared)
        if (action === 'release') await run(prepared, 'acquire', 'sync_killed')
        let killed = 0
        for (let isKilled = true; isKilled;) {
          const state = newState()
          await cp(prepared, state, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true })
          const settings = { steps: `${state}-steps`, kill_at: String(killed + 1) }
          const { signal } = await run(state, action, 'sync_killed', killable, settings)
          isKilled = signal === 'SIGKILL'
          if (isKilled) killed++
          await age(state)
          const next = await run(state, 'acquire', 'sync_next')
          t.match(next, { exitCode: 0, stdout: 'acquired\n' }, `${scene}, ${action}, step ${killed}`)
          t.equal((await run(state, 'acquire', 'sync_other')).exitCode, exitLocked)
        }
        t.ok(killed >= 4, `${killed} steps`)
      }
    })

    await t.test('The report of a sync that ended is kept; one that was cut off is not, and releases all the same', async (t) => {
      const state = newState()
      const release = async (id: string, input: string) => {
        await run(state, 'acquire', id)
        const child = spawn(sh, ['-c', syncLockScript, 'sync-lock', state, 'release', id], { env, stdio: ['pipe', 'ignore', 'ignore'] })
        child.stdin.end(input)
        await once(child, 'close')
        return (await run(state, 'show', '')).stdout
      }
      t.equal(await release('sync_1', '\n'), 'idle\n')
      t.equal(await release('sync_2', 'the report\n'), 'idle\nthe report')
      t.equal(await release('sync_3', 'half of a rep'), 'idle\nthe report')
    })
  })
}
