import type { RunSpec } from '../../schemas/run.js'
import { execMarker } from '../modal/process.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { directoryOf, homeOf, lock, stateOf } from './directory.js'
import { script } from './shell.js'

const follow = script('follow.sh')

export interface Limits {
  timeoutMs: number
  /** How long a run goes on without readers that must have some. */
  graceMs: number
  /** How long Claude waits for permission. */
  permissionMs: number
}

/** What the CLI reads as the prompt. A line break in front keeps a leading slash from being a command of the CLI's. */
export function promptText ({ prompt, permissionMode }: RunSpec): string {
  const content = `\n${prompt}`
  return permissionMode !== 'ask' ? content : `${JSON.stringify({ type: 'user', message: { role: 'user', content } })}\n`
}

/** argv of the runner and Claude under it. Nothing secret and nothing long is in it; values can't become options. */
export function runCommand (
  owned: OwnedSandbox, runId: string, spec: RunSpec, sessionId: string | null,
  { timeoutMs, graceMs, permissionMs }: Limits
): string[] {
  const grace = spec.onDisconnect === 'continue' ? '-' : String(graceMs)
  const patience = spec.permissionMode === 'ask' ? String(permissionMs) : '-'
  return ['sh', `${stateOf(runId)}/runner.sh`, stateOf(runId), directoryOf(owned, runId), lock, execMarker, runId,
    sessionId ?? '-', String(timeoutMs), grace, patience, ['claude', ...claudeOptions(spec)].map(quote).join(' ')]
}

/** argv that follows the run's log from a position on, as long as it is kept alive on its standard input. */
export function followCommand (owned: OwnedSandbox, runId: string, position: number): string[] {
  return ['sh', '-c', follow, 'follow', stateOf(runId), `${directoryOf(owned, runId)}/log`, String(position)]
}

function claudeOptions (spec: RunSpec): string[] {
  const format = spec.outputFormat ?? 'stream-json'
  return [
    '-p',
    `--output-format=${format}`,
    ...format === 'stream-json' ? ['--verbose', '--include-partial-messages'] : [],
    ...permissionOptions(spec),
    '--system-prompt-snapshot=off',
    ...spec.continue ? ['--continue'] : [],
    ...option('--model', spec.model),
    ...option('--allowed-tools', spec.allowedTools?.join(',')),
    ...option('--disallowed-tools', disallowedTools(spec)?.join(',')),
    ...option('--append-system-prompt', spec.appendSystemPrompt),
    ...option('--max-turns', spec.maxTurns),
    ...option('--max-budget-usd', spec.maxBudgetUsd)
  ]
}

function permissionOptions ({ permissionMode }: RunSpec): string[] {
  // The sandbox is the permission: what runs in it can reach nothing else.
  if (permissionMode !== 'ask') return [`--permission-mode=${permissionMode ?? 'bypassPermissions'}`]
  return ['--permission-mode=default', '--permission-prompt-tool=stdio', '--input-format=stream-json']
}

/** Who can only allow or deny can not choose one of Claude's options. */
function disallowedTools ({ permissionMode, disallowedTools }: RunSpec): string[] | undefined {
  return permissionMode === 'ask' ? [...disallowedTools ?? [], 'AskUserQuestion'] : disallowedTools
}

function option (name: string, value: string | number | undefined): string[] {
  return value === undefined ? [] : [`${name}=${value}`]
}

/** One word of a shell's command line. */
function quote (word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`
}

/** Environment of the run. The CLI's own directory lies on the volume, so that conversations outlive the sandbox. */
export function runEnvironment (owned: OwnedSandbox): Record<string, string> {
  return {
    IS_SANDBOX: '1',
    CLAUDE_CONFIG_DIR: homeOf(owned),
    CLAUDE_CODE_DISABLE_BACKGROUND_TASKS: '1',
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
    CLAUDE_CODE_MAX_RETRIES: '4',
    DISABLE_AUTOUPDATER: '1',
    DISABLE_ERROR_REPORTING: '1',
    DISABLE_TELEMETRY: '1'
  }
}
