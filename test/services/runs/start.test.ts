import t from 'tap'
import { checkSpec, promptText, runnerCommand, runEnvironment } from '../../../services/runs/start.js'
import type { OwnedSandbox } from '../../../services/sandboxes/owned.js'
import { run } from '../../helpers/run-log.js'

const limits = { timeoutMs: 5000, graceMs: 1000, permissionMs: 9000 }
const owned = { id: 'sb-1', owner: 'acct-a', workdir: '/workspace' } as OwnedSandbox

t.test('No value of a request can become an option, and no prompt a command of the CLI', async (t) => {
  const argv = runnerCommand(owned, run, {
    prompt: 'secret prompt',
    model: 'opus',
    allowedTools: ['Bash(git *)', 'Read'],
    disallowedTools: ['Write'],
    appendSystemPrompt: "--help isn't",
    maxTurns: 3,
    maxBudgetUsd: 1.5,
    continue: true,
    permissionMode: 'plan'
  }, null, limits)
  const claude = argv.at(-1)!
  for (const word of ['--model=opus', '--allowed-tools=Bash(git *),Read', "--append-system-prompt=--help isn'\\''t", '--max-turns=3', '--continue',
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
