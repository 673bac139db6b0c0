import t from 'tap'
import { leaderless } from '../helpers/native.js'
import { bash, openRuns, until } from '../helpers/run-stage.js'

const skip = process.env.TEST_LIVE === '1' && 'needs a stand-in for claude on the PATH'
const init = 'echo \'{"type":"system","subtype":"init","session_id":"s-1"}\''
const result = 'echo \'{"type":"result","is_error":false,"session_id":"s-1"}\''
/** What a tool may do to leave its run; each sleeps for as many seconds as it is told. */
const survivors = (seconds: number) => [
  `(setsid sleep ${seconds} &)`, `(env -i setsid sleep ${seconds} &)`, `(env -i setsid setsid nohup sleep ${seconds} > /dev/null 2>&1 &)`,
  `(env -i MODAL_SANDBOX_EXEC_ID=exec_of_another setsid sleep ${seconds} &)`, `(ulimit -f 1000; env -i setsid sleep ${seconds} &)`,
  `(ulimit -f 1000; env -i MODAL_SANDBOX_EXEC_ID=exec_of_another setsid sleep ${seconds} &)`,
  `(env -i PATH="$PATH" setsid sh -c '(trap "" TERM HUP INT; sleep ${seconds} & wait)' &)`
]

t.test('Nothing of a run outlives it, and its limits hold whatever is killed or stopped', { skip }, async (t) => {
  const { service, account, owned, id, create, exec, claude, start, replica, sleeping } = await openRuns(t)
  const hidden = survivors(4242)

  await t.test('What a tool leaves behind is gone when its run has ended, however it tries to stay (4.6)', async (t) => {
    await claude(`${init}; ${hidden.join('; ')}; sleep 0.3; ${result}`)
    const run = await start({})
    await until(async () => await sleeping(4242) === hidden.length || (await run.view()).status === 'completed')
    t.match((await run.ended).at(-1)!.data, { outcome: 'result', exitCode: 0 })
    t.equal(await sleeping(4242), 0)
    t.match(await run.cancel(), { left: 0 })
  })

  await t.test('Cancel ends it as well, and so does the next start when it was hidden until then', async (t) => {
    await claude(`${init}; ${hidden.join('; ')}; sleep 4243`)
    const run = await start({})
    await until(async () => await sleeping(4242) === hidden.length)
    t.match(await run.cancel(), { left: 0, completion: { outcome: 'cancelled' } })
    t.equal(await sleeping(4242), 0)
    await exec(`MODAL_SANDBOX_EXEC_ID=${run.runId} setsid sleep 4242 > /dev/null 2>&1 & `)
    await claude(`${init}; ${result}`)
    await (await start({})).ended
    t.equal(await sleeping(4242), 0)
  })

  await t.test('A process whose name looks like another\'s state is found', async (t) => {
    await claude(`${init}; cp "$(command -v sleep)" "$(printf '/tmp/x\\n) S 9 9')"; (env -i setsid "$(printf '/tmp/x\\n) S 9 9')" 4246 &) ; sleep 0.3; ${result}`)
    const count = 'grep -la 4246 /proc/[0-9]*/cmdline 2>/dev/null | grep -v "^/proc/$$/" | wc -l'
    await (await start({})).ended
    t.equal(await exec(count.replace('4246', '[4]246')), '0')
  })

  const otherCpu = process.arch !== 'x64' && 'the program is made for x86-64'
  await t.test('A process that looks like a zombie, because its first thread has ended, is found', { skip: otherCpu }, async (t) => {
    await exec('base64 -d > /tmp/leaderless; chmod +x /tmp/leaderless', leaderless().toString('base64'))
    const living = async () => Number(await exec("cat /proc/[0-9]*/task/*/stat 2>/dev/null | grep -c '(leaderless) [^ZX]'"))
    const tool = '(env -i setsid /tmp/leaderless &); (setsid /tmp/leaderless > /dev/null 2>&1 &); sleep 4251'
    for (const [prompt, count] of [[bash(tool), 2], ['x', 4]] as const) {
      await claude(count === 2 ? undefined : `${init}; (env -i setsid /tmp/leaderless &) ; /tmp/leaderless & ${tool}`)
      const run = await start({ prompt })
      await until(async () => await living() === count)
      t.match(await run.cancel(), { left: 0, completion: { outcome: 'cancelled' } })
      t.equal(await living(), 0)
    }
    const command = service.request(`/api/modal/sandbox/${id}/exec`, {
      method: 'POST', json: { command: ['sh', '-c', '(setsid /tmp/leaderless &) ; sleep 4251'], timeoutMs: 3000 }
    })
    await until(async () => await living() === 1)
    await (await command).text()
    await until(async () => await living() === 0)
  })

  await t.test('What others have started meanwhile lives on', async (t) => {
    await claude(`${init}; until [ -e go ]; do sleep 0.1; done; rm go; ${result}`)
    for (const cancels of [false, true]) {
      const run = await start({})
      const leaving = new AbortController()
      const command = service.request(`/api/modal/sandbox/${id}/exec`, {
        method: 'POST', json: { command: ['sleep', '4244'] }, headers: { accept: 'application/json' }, signal: leaving.signal
      }).catch(() => {})
      await exec('(setsid sleep 4244 > /dev/null 2>&1 &); (env -i setsid sleep 4244 > /dev/null 2>&1 &); env -i sh -c "sleep 4244 & sleep 4244 & wait" > /dev/null 2>&1 &')
      await until(async () => await sleeping(4244) === 5)
      if (cancels) t.match(await run.cancel(), { left: 0 })
      else await exec('touch go')
      await run.ended
      t.equal(await sleeping(4244), 5)
      leaving.abort()
      await command
      await until(async () => await sleeping(4244) === 4)
      await exec('kill $(pidof sleep)')
    }
    await exec('rm -f go')
  })

  await t.test('Claude is killed from outside: the end is told, and its tools have ended', async (t) => {
    await claude()
    const run = await start({ prompt: bash('(env -i setsid sleep 4245 &); sleep 4245') })
    await until(async () => await sleeping(4245) === 2)
    await exec('kill -KILL $(pidof claude)')
    t.match((await run.ended).at(-1)!.data, { outcome: 'signal', exitCode: 137 })
    t.equal(await sleeping(4245), 0)
  })

  await t.test('Whatever of it is killed, a run ends, and nothing of it lives', async (t) => {
    await claude(`${init}; (env -i setsid sleep 4247 &); sleep 4247`)
    for (const [victim, outcome] of [
      ['$(cat $state/pid)', 'signal'], ['$(cat $state/terminal-pid)', 'signal'],
      ['$(grep -lF MODAL_SANDBOX_RUN_ID=$run /proc/[0-9]*/environ | cut -d/ -f3)', 'signal']
    ] as const) {
      const run = await start({})
      await until(async () => await sleeping(4247) === 2)
      await exec(`run=${run.runId} state=${run.state}; kill -KILL ${victim}`)
      t.match((await run.ended).at(-1)!.data, { outcome }, victim)
      t.equal(await sleeping(4247), 0, victim)
      t.match(await run.view(), { status: 'completed' })
    }
  })

  await t.test('Whatever of it stands still, the time-out holds, and the next run starts (4.6)', async (t) => {
    const all = '$(grep -lF MODAL_SANDBOX_RUN_ID=$run /proc/[0-9]*/environ | cut -d/ -f3)'
    for (const victims of ['$(cat $state/claude-pid)', all, `${all} $(cat $state/claude-pid)`]) {
      await claude(`${init}; echo $$ > /tmp/.modal-sandbox/$MODAL_SANDBOX_EXEC_ID/claude-pid; (env -i setsid sleep 4248 &); sleep 4248`)
      const run = await start({ timeoutMs: 4000 })
      await until(async () => await sleeping(4248) === 2)
      await exec(`run=${run.runId} state=${run.state}; kill -STOP ${victims}`)
      t.match((await run.ended).at(-1)!.data, { outcome: 'timeout', isError: true }, victims)
      t.equal(await sleeping(4248), 0)
      await claude(`${init}; ${result}`)
      t.match((await (await start({})).ended).at(-1)!.data, { outcome: 'result' }, 'the next one')
    }
  })

  await t.test('A run that stands still when its replica is gone is ended by whoever looks, or wants to start one', async (t) => {
    for (const look of [
      async (runId: string) => await replica().get(owned, runId),
      async () => await replica().start(account, owned, { prompt: 'x' })
    ]) {
      await claude(`${init}; sleep 4249`)
      const gone = replica()
      const run = await gone.start(account, owned, { prompt: 'x', timeoutMs: 60_000, onDisconnect: 'continue' })
      await gone.close()
      await until(async () => await sleeping(4249) === 1)
      await claude(`${init}; ${result}`)
      await exec(`kill -STOP $(grep -lF MODAL_SANDBOX_RUN_ID=${run.id} /proc/[0-9]*/environ | cut -d/ -f3)
        log=.claude-sandbox/runs/${run.id}/log; sed 's/"startedAt":"2/"startedAt":"1/' $log > old; cat old > $log`)
      const seen = await look(run.id)
      t.equal(await sleeping(4249), 0)
      if (seen.id === run.id) t.match(seen.completion, { outcome: 'timeout' })
      else for await (const batch of seen.read(0, new AbortController().signal)) t.ok(batch)
      t.match((await replica().get(owned, run.id)).completion, { outcome: 'timeout' })
    }
  })

  await t.test('The image\'s SHELL does not decide whether Claude starts, and Claude sees it', async (t) => {
    for (const shell of ['/bin/zsh', '/usr/sbin/nologin', '', '/usr/bin/python3', '/bin/true']) {
      const sandbox = await create({ env: { SHELL: shell, PATH: '/workspace/bin:/usr/local/bin:/usr/bin:/bin' } })
      await claude(`${init}; echo "shell=$SHELL." $(env | grep -c "^IMAGE_SHELL\\|^MODAL_SANDBOX_RUN_ID"); ${result}`, sandbox)
      const events = await (await start({}, sandbox)).ended
      t.match(events.at(-1)!.data, { outcome: 'result' }, shell)
      t.match(events.find(({ event }) => event === 'output')?.data, { text: `shell=${shell}. 0\n` })
      await service.request(`/api/modal/sandbox/${sandbox}`, { method: 'DELETE' })
    }
  })
})
