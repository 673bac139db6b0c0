import t from 'tap'
import { startScriptedModel } from '../../emulator/model/index.js'
import { asks, bash, client, create, exec, json, read, result, scripted, settled } from '../helpers/asking.js'
import { until } from '../helpers/run-stage.js'
import { skip, startService, type ReceivedEvent } from '../helpers/service.js'
import { openStage } from '../helpers/stage.js'

const local = process.env.TEST_LIVE === '1' && 'needs a stand-in for claude on the PATH, or kills the service'
const end = [{ text: 'The end.' }]
const option = (label: string) => ({ label, description: `It is ${label}` })
const colour = { question: 'Which colour?', header: 'Colour', multiSelect: false, options: [option('Red'), option('Blue')] }
const sizes = { question: 'Which sizes?', header: 'Sizes', multiSelect: true, options: [option('S'), option('M'), option('L')] }
const ask = (...questions: object[]) => [{ tool: 'AskUserQuestion', input: { questions } }]
const plan = (text: string) => [{ plan: text }]
const present = [{ tool: 'ExitPlanMode', input: {} }]
const resultsOf = (events: ReceivedEvent[]) =>
  events.flatMap(({ data }) => data.message?.content ?? []).filter(({ type }) => type === 'tool_result')
const askedIn = (events: ReceivedEvent[]) => events.filter(({ event }) => event === 'permission.requested').map(({ data }) => data)

t.test('Claude asks, and somebody answers', { skip }, async (t) => {
  const service = await startService({ RUN_DISCONNECT_GRACE_MS: '20000', HEARTBEAT_MS: '500' })
  t.teardown(service.close)
  const id = await create(service.request)
  const { path, start: startRun, answer, wait: waitFor } = client(service.request, id)
  const start = async (body: object) => await startRun({ permissionMode: undefined, interactive: true, ...body })
  const wait = async (body: object) => await waitFor({ permissionMode: undefined, interactive: true, ...body })
  const follow = async (runId: string) => await read(await service.request(`${path}/${runId}/events`))
  const has = async (name: string) =>
    (await service.request(`/api/modal/sandbox/${id}/files/content?path=${name}`)).status === 200

  await t.test('Its questions are answered with options and in other words, in a run that may do everything', async (t) => {
    const { runId, asked } = await wait({ prompt: scripted(ask(colour, sizes), [bash('touch free.txt')], end) })
    t.match(asked, [{ kind: 'question', toolName: 'AskUserQuestion', toolUseId: /^toolu_/, questions: [colour, sizes], input: undefined }])
    t.equal(Date.parse(asked[0].expiresAt) - Date.parse(asked[0].requestedAt), 600_000)
    t.match(await json(service.request(`${path}/${runId}`)), { status: 'running', interactive: true, pendingPermissions: asked })
    const answers = [{ options: ['Blue'] }, { options: ['S', 'L'], text: 'and "XXL" \\ 🦄' }]
    t.match(await answer(runId, asked[0].id, { decision: 'allow', answers }), { status: 200, body: { pendingPermissions: { length: 0 } } })
    t.match(await answer(runId, asked[0].id, { decision: 'allow', answers }), { status: 409, body: { code: 'PERMISSION_RESOLVED' } })
    const received = await follow(runId)
    t.strictSame(askedIn(received), asked, 'nothing else is asked')
    t.match(received.find(({ event }) => event === 'permission.resolved')!.data, { id: asked[0].id, decision: 'allow', by: 'user' })
    const [told] = resultsOf(received)
    t.equal(told.tool_use_id, asked[0].toolUseId)
    t.match(told.content, '"Which colour?"="Blue", "Which sizes?"="S, L, and "XXL" \\ 🦄"')
    t.match(received.at(-1)!.data, { outcome: 'result', exitCode: 0 })
    t.ok(await has('free.txt'))
  })

  await t.test('An answer may be as long as it likes; that nobody wants to answer is told, too', async (t) => {
    const text = 'Grün, "natürlich" 🦄\n'.repeat(180)
    const long = { ...colour, options: [{ ...option('Red'), preview: 'x'.repeat(40_000) }, option('Blue')] }
    const { runId, asked } = await wait({ prompt: scripted(ask(long), ask(sizes), end) })
    t.match(await answer(runId, asked[0].id, { decision: 'allow', answers: [{ text }] }), { status: 200 })
    const received = await read(await service.request(`${path}/${runId}/events`), async ({ event, data }) => {
      if (event !== 'permission.requested' || data.id === asked[0].id) return
      t.match(await answer(runId, data.id, { decision: 'deny', message: 'You decide' }), { status: 200 })
    })
    t.match(resultsOf(received), [{ content: new RegExp(text.slice(0, 1000)) }, { content: 'You decide', is_error: true }])
    t.match(received.at(-1)!.data, { outcome: 'result' })
  })

  await t.test('What is no answer is refused with the field\'s name, and the question stays open', async (t) => {
    const { runId, asked: [{ id: question }] } = await wait({ prompt: scripted(ask(colour), end) })
    const cases: [object, RegExp][] = [
      [{ decision: 'allow' }, /^body\.answers is missing/],
      [{ decision: 'allow', answers: [] }, /body\.answers/],
      [{ decision: 'allow', answers: [{}] }, /^body\.answers\[0\] is empty/],
      [{ decision: 'allow', answers: [{ options: ['Green'] }] }, /^body\.answers\[0\]\.options\[0\] is not an option/],
      [{ decision: 'allow', answers: [{ options: ['Red'] }, { options: ['Red'] }] }, /^body\.answers has 2 answers for 1 questions/],
      [{ decision: 'allow', answers: [{ options: ['Red', 'Blue'] }] }, /^body\.answers\[0\] has more than one answer/],
      [{ decision: 'allow', answers: [{ options: 'Red' }] }, /body\.answers/],
      [{ decision: 'allow', answers: [{ text: 'x'.repeat(4001) }] }, /body\.answers/],
      [{ decision: 'allow', answers: [{ text: '\0' }] }, /body\.answers/],
      [{ decision: 'allow', answers: [{ text: 'x', more: 1 }] }, /body\.answers/],
      [{ decision: 'allow', remember: 'run' }, /^body\.remember is for requests of the kind tool/],
      [{ decision: 'allow', remember: 'forever' }, /body\.remember/],
      [{ decision: 'allow', permissionMode: 'plan' }, /body\.permissionMode/]
    ]
    for (const [body, message] of cases) {
      t.match(await answer(runId, question, body), { status: 400, body: { code: 'BAD_REQUEST', message } }, JSON.stringify(body).slice(0, 80))
    }
    t.match(await answer(runId, question, { decision: 'allow', answers: [{ options: ['Red'] }] }), { status: 200 })
    t.match(resultsOf(await follow(runId)), [{ content: /"Which colour\?"="Red"/ }])
  })

  await t.test('A plan is shown, goes back with a word, and is approved with the mode to go on in', async (t) => {
    const turns = [plan('# First\n\n- `a`'), present, plan('# Second'), present]
    const goOn = async (permissionMode: string, file: string) => {
      const response = await start({ permissionMode: 'plan', prompt: scripted(...turns, [bash(`touch ${file}`)], end) })
      return await read(response, async ({ event, data }, [started]) => {
        if (event !== 'permission.requested') return
        const { runId } = started!.data
        if (data.kind === 'tool') await answer(runId, data.id, { decision: 'allow' })
        else if (data.plan.startsWith('# First')) await answer(runId, data.id, { decision: 'deny', message: 'Think of **b**, too' })
        else t.match(await answer(runId, data.id, { decision: 'allow', permissionMode }), { status: 200 })
      })
    }
    const free = await goOn('bypassPermissions', 'bypassed.txt')
    t.match(askedIn(free), [
      { kind: 'plan', toolName: 'ExitPlanMode', plan: '# First\n\n- `a`', input: undefined }, { kind: 'plan', plan: '# Second' }
    ])
    t.equal(askedIn(free).length, 2, 'with the freedom to do everything nothing is asked')
    t.match(resultsOf(free).map(({ content }) => content), [/created/, 'Think of **b**, too', /updated/, /approved your plan[^]*# Second/, /no output/])
    t.ok(await has('bypassed.txt'))

    t.match(askedIn(await goOn('ask', 'asked.txt')), [{ kind: 'plan' }, { kind: 'plan' }, { kind: 'tool', input: { command: 'touch asked.txt' } }])
    t.equal(askedIn(await goOn('acceptEdits', 'accepted.txt')).length, 2)
    t.ok(await has('accepted.txt'))
  })

  await t.test('Claude may plan by itself, and then does as it did before', async (t) => {
    const prompt = scripted([{ tool: 'EnterPlanMode', input: {} }], plan('# Mine'), present, [bash('touch mine.txt')], end)
    const { runId, asked } = await wait({ prompt })
    t.match(asked, [{ kind: 'plan', plan: '# Mine' }])
    t.match(await answer(runId, asked[0].id, { decision: 'allow' }), { status: 200 })
    t.equal(askedIn(await follow(runId)).length, 1)
    t.ok(await has('mine.txt'))
  })

  await t.test('Without a key, too, people see how it is: the demo plans, and asks when it is told to (8.6)', async (t) => {
    const received = await read(await start({ permissionMode: 'plan', prompt: 'Write a program. Ask me first.' }), async ({ event, data }, [started]) => {
      if (event !== 'permission.requested') return
      const answers = data.kind === 'question' ? { answers: [{ options: ['A greeting', 'A number'] }] } : { permissionMode: 'bypassPermissions' }
      t.match(await answer(started!.data.runId, data.id, { decision: 'allow', ...answers }), { status: 200 })
    })
    t.match(askedIn(received), [{ kind: 'plan', plan: /^# A small program/ }, { kind: 'question' }])
    t.match(received.findLast(({ data }) => data.type === 'result')!.data.result, /step 3 of 3\nAbout the end you said: [^\n]*"A greeting, A number"/)
    const { runId, sessionId } = received[0]!.data
    const again = await waitFor({ interactive: true, permissionMode: 'plan', sessionId, prompt: 'Another one' })
    t.match(again.asked, [{ kind: 'plan', plan: /^# A small program/ }], 'the plan that is there already')
    t.match(await answer(again.runId, again.asked[0].id, { decision: 'deny' }), { status: 200 })
    t.match((await follow(again.runId)).findLast(({ data }) => data.type === 'result')!.data.result, /because \*\*the plan\*\* did not go through/)
    t.not(again.runId, runId)
  })

  await t.test('What is remembered is not asked again in this run, and in no other', async (t) => {
    const agent = { tool: 'Agent', input: { description: 'x', subagent_type: 'general-purpose', prompt: scripted([bash('touch by-agent.txt')], end) } }
    const write = { tool: 'Write', input: { file_path: '/workspace/written.txt', content: 'x' } }
    const prompt = scripted([bash('touch one.txt')], [bash('rm one.txt; touch two.txt')], [agent], [write], end)
    for (let times = 0; times < 2; times++) {
      const received = await read(await start({ permissionMode: 'ask', interactive: undefined, prompt }), async ({ event, data }, [started]) => {
        if (event !== 'permission.requested') return
        t.equal(data.canRemember, true)
        t.match(await answer(started!.data.runId, data.id, { decision: 'allow', remember: 'run' }), { status: 200 })
      })
      t.match(askedIn(received), [{ toolName: 'Bash', input: { command: 'touch one.txt' } }, { toolName: 'Write' }])
      t.equal(askedIn(received).length, 2)
      t.match(received.at(-1)!.data, { outcome: 'result' })
    }
    t.ok(await has('by-agent.txt'))
    t.match(await exec(service.request, id, 'cat .claude/settings*.json 2>&1; true'), /^(cat: .*)?$/m, 'nothing is left in the workspace')
  })

  await t.test('What is remembered for the workspace is asked in no later run, until that is taken back', async (t) => {
    const permissions = `/api/modal/sandbox/${id}/permissions`
    const prompt = scripted([bash('mkdir -p kept')], [bash('rmdir kept')], end)
    const ask = async (answers: object) => {
      const received = await read(await start({ permissionMode: 'ask', prompt }), async ({ event, data }, [started]) => {
        if (event === 'permission.requested') await answer(started!.data.runId, data.id, { decision: 'allow', ...answers })
      })
      t.match(received.at(-1)!.data, { outcome: 'result' })
      return askedIn(received).map(({ input, rules }) => ({ command: input.command, rules }))
    }
    t.match(await json(service.request(permissions)), { allow: { length: 0 } })
    const [first, second] = await ask({ remember: 'workspace' })
    t.match([first, second], [{ command: 'mkdir -p kept' }, { command: 'rmdir kept' }], 'its rules are narrower than the tool')
    const { allow } = await json(service.request(permissions))
    t.strictSame(allow, [...first!.rules, ...second!.rules], 'those that were asked about')
    t.match(allow, [/^Bash\(mkdir/, /^Bash\(rmdir/])
    t.strictSame(await ask({}), [])
    t.match(await json(service.request(permissions, { method: 'PUT', json: { allow: [allow[1]] } })), { allow: [allow[1]] })
    t.match(await ask({}), [{ command: 'mkdir -p kept' }])

    const settings = '.claude-sandbox/settings.json'
    await exec(service.request, id, `echo '{"model":"m","permissions":{"deny":["Read"],"allow":7}}' > ${settings}`)
    t.match(await json(service.request(permissions)), { allow: { length: 0 } })
    await service.request(permissions, { method: 'PUT', json: { allow: ['Write', 'Write'] } })
    t.strictSame(JSON.parse(await exec(service.request, id, `cat ${settings}`)),
      { model: 'm', permissions: { deny: ['Read'], allow: ['Write'] } }, 'other settings are kept')
    for (const spoil of ['echo x', 'echo []', 'ln -s /etc/passwd', 'mkdir', 'head -c 2000000 /dev/zero']) {
      await exec(service.request, id, `rm -rf ${settings}; ${spoil.replace(/^(echo|head) .*/, '$& >')} ${settings}`)
      t.match(await json(service.request(permissions)), { statusCode: 409, code: 'SETTINGS_UNREADABLE' }, spoil)
      t.match(await json(service.request(permissions, { method: 'PUT', json: { allow: [] } })), { statusCode: 409 }, spoil)
    }
    await exec(service.request, id, `rm -rf ${settings}`)
  })

  await t.test('Where nobody answers Claude is told so and goes on, and so is whoever wants to answer', async (t) => {
    for (const body of [{ interactive: undefined }, { interactive: false, permissionMode: 'plan' }]) {
      const received = await read(await start({ ...body, prompt: scripted(ask(colour), present, end) }))
      t.strictSame(askedIn(received), [])
      t.match(resultsOf(received), [{ is_error: true, content: /AskUserQuestion is disabled/ }, { is_error: true, content: /ExitPlanMode is disabled/ }])
      t.match(received.at(-1)!.data, { outcome: 'result' })
      const { runId } = received[0]!.data
      t.match(await json(service.request(`${path}/${runId}`)), { interactive: false, pendingPermissions: { length: 0 } })
      t.match(await answer(runId, 'x', { decision: 'allow' }), { status: 404, body: { code: 'PERMISSION_NOT_FOUND', message: /nobody answers/, hint: /interactive/ } })
    }
    for (const [body, message] of [
      [{ interactive: true, outputFormat: 'text' }, /^body\.interactive needs/], [{ interactive: false, permissionMode: 'ask' }, /^body\.interactive false/],
      [{ interactive: true, permissionMode: 'dontAsk' }, /^body\.interactive and/], [{ interactive: 'yes' }, /body\.interactive/]
    ] as const) t.match(await json(start({ prompt: 'x', ...body })), { statusCode: 400, message })
  })

  await t.test('A run that is cancelled while a question is open asks nothing any more', async (t) => {
    const { runId, asked } = await wait({ prompt: scripted(ask(colour), end) })
    const events = service.request(`${path}/${runId}/events`)
    t.match(await json(service.request(`${path}/${runId}/cancel`, { method: 'POST' })), { left: 0, completion: { outcome: 'cancelled' } })
    t.match((await read(await events)).slice(-2), [
      { event: 'permission.resolved', data: { id: asked[0].id, decision: 'deny', by: 'run_end' } }, { event: 'run.completed' }
    ])
    t.match(await answer(runId, asked[0].id, { decision: 'allow', answers: [{ options: ['Red'] }] }), { status: 409 })
  })
})

t.test('What a Claude that is none could do', { skip: skip || local }, async (t) => {
  const service = await startService({ RUN_DISCONNECT_GRACE_MS: '20000' })
  t.teardown(service.close)
  const id = await create(service.request, 'alice', { env: { PATH: '/workspace/bin:/usr/local/bin:/usr/bin:/bin' } })
  const { path, start, answer } = client(service.request, id)
  const install = async (script: string) =>
    await exec(service.request, id, 'mkdir -p bin && cat > bin/claude && chmod +x bin/claude', `#!/bin/sh\n${script}\n`)

  await t.test('Answers that are long reach it whole, also side by side; what only looks like a question is shown as it is', async (t) => {
    const question = { ...colour, options: [{ ...option('Red'), preview: 'x'.repeat(90_000) }, option('Blue')] }
    const names = ['one', 'two', 'three', 'four']
    const requests = [
      ...names.map((name) => asks(name, { tool_name: 'AskUserQuestion', input: { questions: [question] } })),
      asks('odd', { tool_name: 'AskUserQuestion', input: { questions: [{ ...colour, options: 'x' }] } }),
      asks('none', { tool_name: 'ExitPlanMode', input: { plan: { x: 1 } } })
    ]
    await exec(service.request, id, 'cat > lines', `${requests.join('\n')}\n`)
    // It begins to read when all have been given, and so are in each other's way.
    const reading = 'until [ -e go ]; do sleep 0.1; done; cat <&3 > told'
    await install(`read -r prompt; exec 3<&0; { ${reading}; } & : > told; cat lines; until [ "$(wc -l < told)" -ge 6 ]; do sleep 0.1; done\n${result}\nwait`)

    const text = 'Grün '.repeat(700).trim()
    const received = await read(await start({ prompt: 'x' }), async ({ event, data }, [started]) => {
      if (event !== 'permission.requested' || data.id !== 'none') return
      const { runId } = started!.data
      t.match(data, { kind: 'plan', plan: '' })
      const answers = await Promise.all([
        ...names.map(async (name) => await answer(runId, name, { decision: 'allow', answers: [{ text: `${name} ${text}` }] })),
        answer(runId, 'odd', { decision: 'deny' }), answer(runId, 'none', { decision: 'deny' })
      ])
      t.strictSame(answers.map(({ status }) => status), Array(6).fill(200))
      await exec(service.request, id, ': > go')
    })
    t.match(askedIn(received).find((asked) => asked.id === 'odd'), { kind: 'tool', input: { questions: [{ options: 'x' }] } })
    t.match(received.at(-1)!.data, { outcome: 'result' })
    const told = (await exec(service.request, id, 'cat told')).trim().split('\n').map((line) => JSON.parse(line).response)
    const answerTo = (name: string) => told.find(({ request_id: of }) => of === name).response
    for (const name of names) {
      t.strictSame(answerTo(name), { behavior: 'allow', updatedInput: { questions: [question], answers: { 'Which colour?': `${name} ${text}` } } })
    }
    t.match(answerTo('none'), { behavior: 'deny', message: /go on planning/ })
  })

  await t.test('Whether it reads nothing, or asks when its input has ended: nothing hangs, and nothing is left', async (t) => {
    const hook = '{"type":"control_request","request_id":"hook","request":{"subtype":"hook_callback"}}'
    const left = async () => await exec(service.request, id, 'grep -lsE "MODAL_SANDBOX_(RUN|EXEC)_ID=run_" /proc/[0-9]*/environ; true')
    const cases: [string, string, string][] = [
      ['exits without reading', 'exit 3', 'exit'],
      ['waits without reading', 'echo "{}"; sleep 100', 'cancelled'],
      ['asks after its result', `cat > /dev/null & ${result}; sleep 0.5; echo '${hook}'; sleep 0.5; echo '${asks('late')}'; sleep 0.5`, 'result']
    ]
    for (const [what, script, outcome] of cases) {
      await install(script)
      const received = await read(await start({ prompt: 'x'.repeat(900_000) }), async ({ event, data }, [started]) => {
        if (event !== 'output' || data.text !== '{}\n') return
        t.match(await left(), '/environ', 'this would show')
        await service.request(`${path}/${started!.data.runId}/cancel`, { method: 'POST' })
      })
      t.match(received.at(-1)!.data, { outcome }, what)
      await until(async () => await left() === '')
    }
  })
})

t.test('A question survives the service', { skip: local }, async (t) => {
  const model = await startScriptedModel()
  const stage = await openStage({ HEARTBEAT_MS: '500', ANTHROPIC_BASE_URL: model.url, ANTHROPIC_API_KEY: model.apiKey })
  t.teardown(async () => {
    await stage.close()
    await model.close()
  })
  const other = await stage.startReplica()
  const id = await create(other.request)
  const doomed = async (env: Record<string, string>) => {
    const replica = await stage.startReplica(env)
    const { path, wait } = client(replica.request, id)
    const waiting = await wait({ permissionMode: undefined, interactive: true, prompt: scripted(ask(colour), end) })
    await replica.kill()
    return { ...waiting, path }
  }

  await t.test('Killed while Claude waits: another replica knows the question, and its answer is checked and counts', async (t) => {
    const { runId, asked, path } = await doomed({})
    t.match(await json(other.request(`${path}/${runId}`)), { interactive: true, pendingPermissions: asked })
    const { answer } = client(other.request, id)
    t.match(await answer(runId, asked[0].id, { decision: 'allow', answers: [{ options: ['Green'] }] }), { status: 400 })
    const answers = await Promise.all(['Red', 'Blue', 'Red', 'Blue'].map(async (label) =>
      await answer(runId, asked[0].id, { decision: 'allow', answers: [{ options: [label] }] })))
    t.strictSame(answers.map(({ status }) => status).toSorted(), [200, 409, 409, 409])
    const chosen = answers.findIndex(({ status }) => status === 200) % 2 === 0 ? 'Red' : 'Blue'
    const received = await read(await other.request(`${path}/${runId}/events`))
    t.match(resultsOf(received), [{ content: new RegExp(`"Which colour\\?"="${chosen}"`) }])
  })

  await t.test('With no service there it is over when its time is, and Claude goes on without an answer', async (t) => {
    const { runId, asked, path } = await doomed({ PERMISSION_TIMEOUT_MS: '2000' })
    t.match(await settled(other.request, `${path}/${runId}`), { completion: { outcome: 'result' } })
    const received = await read(await other.request(`${path}/${runId}/events`))
    t.match(received.find(({ event }) => event === 'permission.resolved')!.data, { id: asked[0].id, decision: 'deny', by: 'deadline' })
    t.match(resultsOf(received), [{ is_error: true, content: /^Nobody has answered in time/ }])
  })
})
