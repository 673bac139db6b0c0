import { readFileSync } from 'node:fs'
import { join } from 'node:path/posix'
import type { RunSpec } from '../../schemas/run.js'
import { execMarker } from '../sandboxes/kill.js'

const script = (name: string) => readFileSync(new URL(name, import.meta.url), 'utf8')
const runner = script('runner.sh')
const prepare = script('prepare.sh')

/** Private to the sandbox: never on a volume that other sandboxes see. */
const stateDirectory = '/tmp/.modal-sandbox'

/** argv that takes the sandbox's place for a run; the prompt goes to its standard input. */
export function prepareCommand (runId: string, workdir: string): string[] {
  return ['sh', '-c', prepare, 'prepare', stateDirectory, runId, runner, workdir, execMarker]
}

/** argv that gives the place back when the runner could not be started. */
export function leaveCommand (runId: string): string[] {
  return ['sh', '-c', 'rm -f "$1/prompt"; echo 255 > "$1/exit"', 'leave', join(stateDirectory, runId)]
}

/** What the CLI reads as the prompt. A line break in front keeps a leading slash from being a command of the CLI's. */
export function promptText (prompt: string): string {
  return `\n${prompt}`
}

/** argv of the runner and Claude under it. Nothing secret and nothing long is in it; values can't become options. */
export function runCommand (runId: string, spec: RunSpec, sessionId: string | null): string[] {
  return ['sh', join(stateDirectory, runId, 'runner.sh'), join(stateDirectory, runId), join(stateDirectory, 'active'),
    sessionId ?? '-', 'claude', ...claudeOptions(spec)]
}

function claudeOptions (spec: RunSpec): string[] {
  const format = spec.outputFormat ?? 'stream-json'
  return [
    '-p',
    `--output-format=${format}`,
    ...format === 'stream-json' ? ['--verbose', '--include-partial-messages'] : [],
    // The sandbox is the permission: what runs in it can reach nothing else.
    `--permission-mode=${spec.permissionMode ?? 'bypassPermissions'}`,
    '--system-prompt-snapshot=off',
    ...spec.continue ? ['--continue'] : [],
    ...option('--model', spec.model),
    ...option('--allowed-tools', spec.allowedTools?.join(',')),
    ...option('--disallowed-tools', spec.disallowedTools?.join(',')),
    ...option('--append-system-prompt', spec.appendSystemPrompt),
    ...option('--max-turns', spec.maxTurns),
    ...option('--max-budget-usd', spec.maxBudgetUsd)
  ]
}

function option (name: string, value: string | number | undefined): string[] {
  return value === undefined ? [] : [`${name}=${value}`]
}

/**
 * Environment of the run. The CLI's own directory lies on the volume, so that conversations outlive the sandbox.
 * @param home where the volume is mounted, or the workdir without one.
 */
export function runEnvironment (runId: string, home: string): Record<string, string> {
  return {
    [execMarker]: runId,
    IS_SANDBOX: '1',
    CLAUDE_CONFIG_DIR: join(home, '.claude-sandbox'),
    CLAUDE_CODE_DISABLE_BACKGROUND_TASKS: '1',
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1',
    CLAUDE_CODE_MAX_RETRIES: '4',
    DISABLE_AUTOUPDATER: '1',
    DISABLE_ERROR_REPORTING: '1',
    DISABLE_TELEMETRY: '1'
  }
}
