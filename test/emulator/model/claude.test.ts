import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { existsSync, openSync, closeSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { cutDelayMs } from '../../../emulator/model/answer.js'
import type { ScriptedModel } from '../../../emulator/model/index.js'
import { replacePauses, scripted, startModel, withoutClaude } from '../../helpers/scripted-model.js'

const cli = findCli()
const needsCli = cli === undefined ? { skip: 'the Claude CLI is not installed for this platform' } : {}

t.jobs = 3

t.test('The real CLI writes a file, runs it, says plainly that this is no Claude, and resumes (8.6)', {
  buffered: true, ...needsCli
}, async (t) => {
  const home = await makeHome(t)
  const sessionId = randomUUID()
  const first = await runClaude(home, "\nSay 'hello' to Zoë & co.", { args: ['--session-id', sessionId] })

  t.match(first, { code: 0, stderr: '', result: { is_error: false, num_turns: 3 } })
  t.match(first.texts[0], withoutClaude)
  t.match(first.texts[0], "> Say 'hello' to Zoë & co.")
  t.same(first.tools, ['Write', 'Bash'])
  t.ok(first.deltas.length > 50, 'text arrives in many small pieces')
  t.equal(first.deltas.join(''), first.texts.join(''))

  const files = readdirSync(home.work)
  t.match(files, [/^hello-say-hello-to-\w{4}\.sh$/])
  const final = first.texts.at(-1) ?? ''
  t.match(final, `\`\`\`sh\n${readFileSync(join(home.work, files[0]!), 'utf8').trimEnd()}\n\`\`\``)
  t.match(final, "You asked for: Say 'hello' to Zoë & co.\nRunning in ")
  t.match(final, 'step 3 of 3\n```', 'what the program really printed')
  t.match(final, 'set `ANTHROPIC_API_KEY`')

  const second = await runClaude(home, '\nOnce more', { args: ['--resume', sessionId] })
  t.match(second, { code: 0, result: { is_error: false, session_id: sessionId } })
  t.match(second.texts[0], /This is turn 2 of our conversation[^]*> Once more/)
  t.equal(readdirSync(home.work).length, 2, 'a new file, so that the CLI does not refuse to overwrite')
})

t.test('A refused tool is reported and ends the story: it never asks for ever (8.10)', {
  buffered: true, ...needsCli
}, async (t) => {
  const home = await makeHome(t)
  const noWrite = await runClaude(home, '\nhello', { mode: 'default' })
  t.match(noWrite, { code: 0, tools: ['Write'], result: { is_error: false, permission_denials: [{}] } })
  t.match(noWrite.texts.at(-1), /ends here, because \*\*Write\*\* did not go through:[^]*permission/)

  const noBash = await runClaude(home, '\nhello', { mode: 'acceptEdits' })
  t.match(noBash, { code: 0, tools: ['Write', 'Bash'], result: { is_error: false } })
  t.match(noBash.texts.at(-1), /ends here, because \*\*Bash\*\* did not go through/)
})

t.test('A script calls real tools; when they fail or the script is over, the run ends (8.6, 8.10)', {
  buffered: true, ...needsCli
}, async (t) => {
  const home = await makeHome(t)
  const run = await runClaude(home, scripted([
    [{ thinking: 'Which exit code?' }, { text: 'Try.' }, { tool: 'Bash', input: { command: 'echo out; exit 3' } }],
    [{ tool: 'Write', input: { file_path: join(home.work, 'a.txt'), content: 'naïve 🦄' } }]
  ]))
  t.match(run, { code: 0, tools: ['Bash', 'Write'], result: { is_error: false, num_turns: 3 } })
  t.match(run.toolResults, [{ is_error: true, content: 'Exit code 3\nout' }, {}])
  t.same(run.texts, ['Try.', 'The script has ended.'])
  t.match(run.events.find((event) => event.message?.content[0].type === 'thinking')?.message.content[0],
    { thinking: 'Which exit code?', signature: /^[\w+/]+=*$/ })
  t.equal(readFileSync(join(home.work, 'a.txt'), 'utf8'), 'naïve 🦄')
})

t.test('A text of 1 MB and one of emoji in tiny pieces arrive whole (4.1, 4.10)', {
  buffered: true, ...needsCli
}, async (t) => {
  const home = await makeHome(t)
  const emoji = '👩‍👩‍👧 🇩🇪 e\u0301 ✓'
  const { code, texts, deltas } = await runClaude(home, scripted([[
    { text: emoji, chunk: 1, delayMs: 5 },
    { text: 'äbc🦄', repeat: 200_000, chunk: 9999 }
  ]]))
  t.equal(code, 0)
  t.equal(texts[0], emoji)
  t.ok(texts[1] === 'äbc🦄'.repeat(200_000), 'the line is whole')
  t.same(deltas.slice(0, [...emoji].length), [...emoji], 'one character each')
  t.ok(deltas.join('') === texts.join(''))
})

t.test('Errors that no retry can cure end the run at once, with their status (4.5, 8.10)', {
  buffered: true, ...needsCli
}, async (t) => {
  const home = await makeHome(t)
  const wrongKey = await runClaude(home, '\nhello', { key: 'sk-ant-wrong' })
  t.match(wrongKey, { code: 1, retries: { length: 0 }, result: { is_error: true, api_error_status: 401, result: /Invalid API key/ } })

  const forbidden = await runClaude(home, scripted([{ error: { status: 403, message: 'no access' } }]))
  t.match(forbidden, { code: 1, retries: { length: 0 }, result: { is_error: true, api_error_status: 403, result: /no access/ } })
})

t.test('Errors that may pass are retried: 529 stays, 429 is waited for, 500 passes (4.5, 8.10)', {
  buffered: true, ...needsCli
}, async (t) => {
  const home = await makeHome(t)
  const overloaded = await runClaude(home, scripted([{ error: { status: 529 } }]))
  t.match(overloaded, { code: 1, retries: [529, 529], result: { is_error: true, result: /529/ } })

  const limited = await runClaude(home, scripted([
    { error: { status: 429, retryAfter: 1 } }, { error: { status: 500 } }, { blocks: [{ text: 'At last' }], delayMs: 10 }
  ]))
  t.match(limited, { code: 0, retries: [429, 500], texts: ['At last'], result: { is_error: false } })
  t.ok(limited.events.find(({ subtype }) => subtype === 'api_retry')?.retry_delay_ms >= 1000, 'retry-after is honoured')
})

t.test('A stream that is cut or breaks with an error is asked for again (4.5, 8.10)', {
  buffered: true, ...needsCli
}, async (t) => {
  const home = await makeHome(t)
  // The connection breaks once the CLI has shown what came before: how soon that is depends on the machine.
  const shown = new EventEmitter()
  replacePauses(t, cutDelayMs, async (pause) => {
    await once(shown, 'Half of ')
    await pause()
  })
  let text = ''
  const cut = await runClaude(home, scripted([
    { blocks: [{ text: 'Half of a sentence', chunk: 4 }], cutAfter: 5 }, [{ text: 'The whole sentence' }]
  ]), {
    onEvent: ({ event }) => { shown.emit(text += event?.delta?.text ?? '') }
  })
  t.match(cut, { code: 0, retries: [null], texts: ['The whole sentence'], result: { is_error: false } })
  t.equal(cut.deltas.slice(0, 2).join(''), 'Half of ', 'what came before the cut was shown')

  const broken = await runClaude(home, scripted([
    { blocks: [{ text: 'Half' }], error: { status: 529 } }, [{ text: 'Whole' }]
  ]))
  t.match(broken, { code: 0, texts: { length: 2 }, result: { is_error: false, result: 'Whole' } })
})

t.test('A hanging answer times out, and a signal ends a run in the middle of its stream (4.6, 8.10)', {
  buffered: true, ...needsCli
}, async (t) => {
  const home = await makeHome(t)
  const silent = await runClaude(home, scripted([{ hang: true }]), {
    env: { API_TIMEOUT_MS: '1500', CLAUDE_CODE_MAX_RETRIES: '0' }
  })
  t.match(silent, { code: 1, result: { is_error: true, result: /timed out/i } })

  const stopped = await runClaude(home, scripted([{ blocks: [{ text: 'Then silence' }], hang: true }]), {
    interruptAt: (event) => event.event?.delta?.type === 'text_delta'
  })
  t.match(stopped, { code: 0, texts: ['Then silence'] })
})

interface Home {
  dir: string
  work: string
  model: ScriptedModel
}

interface RunOptions {
  args?: string[]
  mode?: string
  key?: string
  env?: Record<string, string>
  onEvent?: (event: ClaudeEvent) => void
  /** Sends SIGINT at the first event that fits. */
  interruptAt?: (event: ClaudeEvent) => boolean
}

// What the CLI prints has no published type that keeps up with it.
type ClaudeEvent = Record<string, any>

/** Runs the installed CLI to its end, as the service does: prompt by file, nothing of this process's environment. */
async function runClaude ({ dir, work, model }: Home, prompt: string, options: RunOptions = {}) {
  const { args = [], mode = 'bypassPermissions', key = model.apiKey, env = {}, onEvent, interruptAt } = options
  const promptFile = join(dir, 'prompt.txt')
  writeFileSync(promptFile, prompt)
  const stdin = openSync(promptFile, 'r')
  const child = spawn(cli!, [
    '-p', '--output-format', 'stream-json', '--verbose', '--include-partial-messages', '--permission-mode', mode, ...args
  ], {
    cwd: work,
    env: environment(dir, model, key, env),
    stdio: [stdin, 'pipe', 'pipe'],
    timeout: 120_000,
    killSignal: 'SIGKILL'
  })
  closeSync(stdin)

  const exited = new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve))
  let stderr = ''
  child.stderr!.setEncoding('utf8').on('data', (text: string) => { stderr += text })
  const events: ClaudeEvent[] = []
  let signalled = false
  for await (const line of createInterface(child.stdout!)) {
    const event = JSON.parse(line) as ClaudeEvent
    events.push(event)
    onEvent?.(event)
    if (!signalled && interruptAt?.(event)) signalled = child.kill('SIGINT')
  }
  return { code: await exited, stderr, events, ...digest(events) }
}

function environment (dir: string, model: ScriptedModel, key: string, more: Record<string, string>) {
  return {
    PATH: process.env.PATH,
    HOME: dir,
    CLAUDE_CONFIG_DIR: join(dir, 'config'),
    ANTHROPIC_BASE_URL: model.url,
    ANTHROPIC_API_KEY: key,
    IS_SANDBOX: '1',
    DISABLE_AUTOUPDATER: '1',
    DISABLE_TELEMETRY: '1',
    DISABLE_ERROR_REPORTING: '1',
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
    CLAUDE_CODE_DISABLE_BACKGROUND_TASKS: '1',
    CLAUDE_CODE_MAX_RETRIES: '2',
    ...more
  }
}

function digest (events: ClaudeEvent[]) {
  const blocks = (wanted: string) => events
    .filter(({ type }) => type === wanted).flatMap(({ message }) => message.content)
  const said = blocks('assistant')
  return {
    texts: said.filter(({ type }) => type === 'text').map(({ text }) => text as string),
    tools: said.filter(({ type }) => type === 'tool_use').map(({ name }) => name as string),
    toolResults: blocks('user').filter(({ type }) => type === 'tool_result'),
    deltas: events.flatMap(({ event }) => event?.delta?.type === 'text_delta' ? [event.delta.text as string] : []),
    retries: events.filter(({ subtype }) => subtype === 'api_retry').map((event) => event.error_status as number | null),
    result: events.findLast(({ type }) => type === 'result')
  }
}

async function makeHome (t: Test): Promise<Home> {
  const dir = t.testdir({})
  const work = join(dir, 'work')
  await mkdir(work)
  return { dir, work, model: await startModel(t) }
}

function findCli () {
  try {
    const manifest = createRequire(import.meta.url)
      .resolve(`@anthropic-ai/claude-code-${process.platform}-${process.arch}/package.json`)
    const path = join(manifest, '..', 'claude')
    return existsSync(path) ? path : undefined
  } catch {
    return undefined
  }
}
