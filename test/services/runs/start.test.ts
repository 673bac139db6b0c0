import t from 'tap'
import { promptText, runnerCommand, runEnvironment } from '../../../services/runs/start.js'
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
  t.equal(promptText({ prompt: '/clear' }), '\n/clear')
  const asking = runnerCommand(owned, run, { prompt: 'x', permissionMode: 'ask', disallowedTools: ['Write'] }, 's', limits)
  t.equal(asking.at(-2), '9000', 'how long Claude waits for permission')
  t.match(asking.at(-1), /'--permission-mode=default' '--permission-prompt-tool=stdio' '--input-format=stream-json'.*'--disallowed-tools=Write,AskUserQuestion'/)
  t.equal(promptText({ prompt: '/clear "\n', permissionMode: 'ask' }), '{"type":"user","message":{"role":"user","content":"\\n/clear \\"\\n"}}\n')
  t.match(runEnvironment({ ...owned, mountPath: '/data' }), { CLAUDE_CONFIG_DIR: '/data/.claude-sandbox', IS_SANDBOX: '1' })
})
