import t from 'tap'
import type { ImagePart, Prompt, RunSpec } from '../../../schemas/run.js'
import { textOf } from '../../../services/runs/prompt.js'
import { checkSpec, promptText, runnerCommand, runEnvironment } from '../../../services/runs/start.js'
import type { OwnedSandbox } from '../../../services/sandboxes/owned.js'
import { run } from '../../helpers/run-log.js'

const limits = { timeoutMs: 5000, graceMs: 1000, permissionMs: 9000 }
const owned = { id: 'sb-1', owner: 'acct-a', workdir: '/workspace' } as OwnedSandbox

t.test('No value of a request can become an option, and no prompt a command of the CLI', async (t) => {
  const argv = runnerCommand(owned, run, {
    prompt: 'secret prompt',
    model: 'opus',
    effort: 'xhigh',
    allowedTools: ['Bash(git *)', 'Read'],
    disallowedTools: ['Write'],
    appendSystemPrompt: "--help isn't",
    maxTurns: 3,
    maxBudgetUsd: 1.5,
    continue: true,
    permissionMode: 'plan'
  }, null, limits)
  const claude = argv.at(-1)!
  for (const word of ['--model=opus', '--effort=xhigh', '--allowed-tools=Bash(git *),Read', "--append-system-prompt=--help isn'\\''t", '--max-turns=3', '--continue',
    '--disallowed-tools=Write', '--max-budget-usd=1.5', '--permission-mode=plan', '--verbose']) t.ok(claude.split(/(?<=') (?=')/).includes(`'${word}'`), word)
  t.strictSame(argv.slice(-5, -1), ['-', '5000', '1000', '-'])
  t.notMatch(argv.join(' '), /secret prompt/)
  const text = runnerCommand(owned, run, { prompt: 'x', outputFormat: 'text', onDisconnect: 'continue' }, 's', limits)
  t.notMatch(text.at(-1), /--verbose/)
  t.equal(text.at(-3), '-', 'no grace time counts')
  t.equal(promptText({ prompt: '/clear', outputFormat: 'text' }), '\n/clear')
  t.equal(promptText({ prompt: '/clear "\n' }), '{"type":"user","message":{"role":"user","content":"\\n/clear \\"\\n"}}\n')
  t.equal(promptText({ prompt: '/clear', literal: true, outputFormat: 'text' }), '\n/clear')
  t.notMatch(text.at(-1), /--input-format/)
  t.match(runEnvironment({ ...owned, mountPath: '/data' }), { CLAUDE_CONFIG_DIR: '/data/.claude-sandbox', IS_SANDBOX: '1' })
})

t.test('A prompt that is not literal reaches the CLI without a line break, so that its commands count', async (t) => {
  t.equal(promptText({ prompt: '/cost', literal: false }), '{"type":"user","message":{"role":"user","content":"/cost"}}\n')
  t.equal(promptText({ prompt: '/cost', literal: false, outputFormat: 'text' }), '/cost')
})

t.test('Claude may ask in every mode where somebody answers, and in no other run', async (t) => {
  const command = (spec: object, settings?: Record<string, string>) =>
    runnerCommand(owned, run, { prompt: 'x', ...spec }, 's', limits, settings)
  const asking = command({ permissionMode: 'ask', disallowedTools: ['Write'] })
  t.equal(asking.at(-2), '9000', 'how long Claude waits for an answer')
  t.match(asking.at(-1), /'--permission-mode=default' '--permission-prompt-tool=stdio'.*'--disallowed-tools=Write'/)
  for (const permissionMode of [undefined, 'acceptEdits', 'auto', 'bypassPermissions', 'default', 'plan']) {
    const [timeout, claude] = command({ interactive: true, permissionMode }, { A: 'b' }).slice(-2)
    t.equal(timeout, '9000')
    t.match(claude, `'--permission-mode=${permissionMode ?? 'bypassPermissions'}' '--permission-prompt-tool=stdio' '--allow-dangerously-skip-permissions'`)
    t.match(claude, '{"env":{"A":"b"},"useAutoModeDuringPlan":false}')
    for (const interactive of [false, undefined]) {
      const [timeout, claude] = command({ interactive, permissionMode }, { A: 'b' }).slice(-2)
      t.equal(timeout, '-')
      t.notMatch(claude, /permission-prompt-tool|skip-permissions|useAutoMode/)
      t.match(claude, '\'--settings={"env":{"A":"b"}}\'')
    }
  }
  const wrong: [object, RegExp][] = [
    [{ interactive: true, outputFormat: 'text' }, /^body\.interactive needs body\.outputFormat/],
    [{ permissionMode: 'ask', outputFormat: 'text' }, /^body\.permissionMode ask needs body\.outputFormat/],
    [{ interactive: false, permissionMode: 'ask' }, /^body\.interactive false and body\.permissionMode ask/],
    [{ interactive: true, permissionMode: 'dontAsk' }, /^body\.interactive and body\.permissionMode dontAsk/]
  ]
  for (const [spec, message] of wrong) t.throws(() => checkSpec({ prompt: 'x', ...spec }), { code: 'BAD_REQUEST', message })
  checkSpec({ prompt: 'x', interactive: false, outputFormat: 'text', permissionMode: 'dontAsk' })
})

const png = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNg+M9QDwADgQGAeJ7PvgAAAABJRU5ErkJggg=='
const image = (data = png, mediaType = 'image/png') => ({ type: 'image', mediaType, data }) as ImagePart
const base64 = (bytes: string) => Buffer.from(bytes.padEnd(24, '.'), 'latin1').toString('base64')

t.test('A prompt of parts is one message of content blocks, and none of its texts a command of the CLI', async (t) => {
  const prompt: Prompt = [{ type: 'text', text: '/clear' }, image(), { type: 'text', text: 'Really' }]
  checkSpec({ prompt })
  const line = promptText({ prompt })
  t.equal(line.indexOf('\n'), line.length - 1)
  t.strictSame(JSON.parse(line), {
    type: 'user',
    message: {
      role: 'user',
      content: [
        { type: 'text', text: '\n/clear' },
        { type: 'image', source: { type: 'base64', media_type: 'image/png', data: png } },
        { type: 'text', text: '\nReally' }
      ]
    }
  })
  t.equal(textOf(prompt), '/clear\nReally')
  t.equal(textOf([image()]), '[image]')
})

t.test('The bytes of an image must be of the type that is named', async (t) => {
  const good: [string, string][] = [
    ['image/jpeg', base64('\xff\xd8\xff\xe0')], ['image/gif', base64('GIF89a')], ['image/webp', base64('RIFF\n\0\0\0WEBPVP8 ')]
  ]
  for (const [mediaType, data] of good) {
    checkSpec({ prompt: [image(data, mediaType)] })
    const message = `body.prompt.1.mediaType is image/png, but the data is ${mediaType}.`
    t.throws(() => checkSpec({ prompt: [image(), image(data)] }), { code: 'BAD_REQUEST', message })
  }
  for (const bytes of ['<svg xmlns="http://www.w3.org/2000/svg"/>', 'RIFF\n\0\0\0AVI ', 'BM']) {
    t.throws(() => checkSpec({ prompt: [image(base64(bytes))] }), { code: 'BAD_REQUEST', message: /^body\.prompt\.0\.mediaType is image\/png, but the data is no PNG/ })
  }
})

t.test('A prompt of parts has its limits', async (t) => {
  const wrong: [object, string, RegExp][] = [
    [{ prompt: Array(11).fill(image()) }, 'BAD_REQUEST', /^body\.prompt has 11 images/],
    [{ prompt: [image()], outputFormat: 'text' }, 'BAD_REQUEST', /^body\.prompt as a list of parts needs body\.outputFormat/],
    [{ prompt: [image(), { type: 'text', text: ' \n' }] }, 'BAD_REQUEST', /^body\.prompt is blank/],
    [{ prompt: [{ type: 'text', text: 'a\0b' }] }, 'BAD_REQUEST', /^body\.prompt has a NUL/],
    [{ prompt: [image(png.slice(0, -1))] }, 'BAD_REQUEST', /^body\.prompt\.0\.data is not complete base64/],
    [{ prompt: Array(2).fill({ type: 'text', text: 'x'.repeat(600_000) }) }, 'PAYLOAD_TOO_LARGE', /^The text of body\.prompt is larger than 1 MB/]
  ]
  for (const [spec, code, message] of wrong) t.throws(() => checkSpec(spec as RunSpec), { code, message })
  checkSpec({ prompt: Array(10).fill(image()) })
})
