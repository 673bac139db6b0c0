import { randomUUID } from 'node:crypto'
import type { ModalClient, Secret } from 'modal'
import { AppError } from '../../errors.js'
import type { Log } from '../../lib/log.js'
import type { Account } from '../../schemas/account.js'
import type { RunSpec } from '../../schemas/run.js'
import type { Charges } from '../gateway/exchange.js'
import { callModal, lookupMs } from '../modal/call.js'
import { execMarker, sandboxGone, SandboxProcess } from '../modal/process.js'
import { tagLatestRun } from '../modal/run-tags.js'
import { quote } from '../modal/script.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { silenceMs } from './log-follower.js'
import { checkPrompt, contentOf, textOf } from './prompt.js'
import type { StartedRecord } from './records.js'
import { directoryOf, endRun, homeOf, lock, prepareRun, runMark, stateOf } from './run-directory.js'

/** The SDK refuses more; it counts characters. */
const argvLimit = 65_536
/** On top of the runner's own timer: Modal's, in case the runner was killed. */
const backstopMs = 60_000

/** How runs reach the model. */
export interface ModelAccess {
  /** Environment of Claude. It may hold the key. */
  env: Readonly<Record<string, string>>
  /** The Modal secret with the key. */
  secretName?: string | undefined
  /** Values that must not be in any event; by default the keys in `env`. */
  secrets?: readonly string[]
  perRun?: {
    /** @throws {AppError} CLAUDE_FAILED. */
    open (run: RunAccess): Promise<{ env: Record<string, string>, settings: Record<string, string> }>
    /** The run is over. @returns what it has cost, where the model gateway has counted it. */
    close (owned: OwnedSandbox, runId: string): Charges | undefined
    /** A run that another replica has started is over, as a look at its sandbox has proven. */
    closeOther? (owned: OwnedSandbox, runId: string): void
  }
}

interface RunAccess {
  account: Account
  owned: OwnedSandbox
  runId: string
  timeoutMs: number
  maxBudgetUsd: number | undefined
}

export interface StartOptions {
  client: ModalClient
  model: ModelAccess
  timeouts: { disconnectGraceMs: number, timeoutMs: number, permissionMs: number }
}

export interface Start {
  id: string
  account: Account
  owned: OwnedSandbox
  spec: RunSpec
  log: Log
}

/** What the run's log begins with, and the process whose output is that log. */
export interface Started { started: StartedRecord, runner: SandboxProcess }

/** Checks what a schema cannot. @throws {AppError} BAD_REQUEST, PAYLOAD_TOO_LARGE. */
export function checkSpec (spec: RunSpec) {
  const { prompt, continue: latest, interactive, permissionMode, outputFormat } = spec
  checkPrompt(prompt)
  if (outputFormat === 'text' && typeof prompt !== 'string') {
    throw new AppError('BAD_REQUEST', { message: 'body.prompt as a list of parts needs body.outputFormat stream-json.' })
  }
  for (const field of ['fork', 'sessionId'] as const) {
    if (!latest || spec[field] === undefined) continue
    throw new AppError('BAD_REQUEST', { message: `body.continue and body.${field} exclude each other.` })
  }
  const asking = interactive === true ? 'body.interactive' : 'body.permissionMode ask'
  if (isInteractive(spec) && outputFormat === 'text') {
    throw new AppError('BAD_REQUEST', { message: `${asking} needs body.outputFormat stream-json.` })
  }
  if (interactive === false && permissionMode === 'ask') {
    throw new AppError('BAD_REQUEST', { message: 'body.interactive false and body.permissionMode ask exclude each other.' })
  }
  if (interactive === true && permissionMode === 'dontAsk') {
    throw new AppError('BAD_REQUEST', { message: 'body.interactive and body.permissionMode dontAsk exclude each other.' })
  }
}

/** Whether somebody answers what Claude asks. */
function isInteractive ({ interactive, permissionMode }: RunSpec): boolean {
  return interactive ?? permissionMode === 'ask'
}

/**
 * @throws {AppError} BAD_REQUEST, SESSION_NOT_FOUND, RUN_ACTIVE, SANDBOX_ENDED, CLAUDE_FAILED; then nothing of the run
 * is left.
 */
export async function startRunner (
  { client, model, timeouts }: StartOptions, { id, account, owned, spec, log }: Start
): Promise<Started> {
  const timeoutMs = spec.timeoutMs ?? timeouts.timeoutMs
  const started = startedRecord(id, owned, spec, timeoutMs)
  const { disconnectGraceMs: graceMs, permissionMs } = timeouts
  const run = { account, owned, runId: id, timeoutMs, maxBudgetUsd: spec.maxBudgetUsd }
  const access = await model.perRun?.open(run)
  const limits = { timeoutMs, graceMs, permissionMs }
  const command = runnerCommand(owned, id, spec, started.sessionId, limits, access?.settings)
  checkArguments(command)
  const secrets = await lookUpSecret(client, model.secretName)
  await prepareRun(owned, started, promptText(spec), spec.fork)
  const tagged = tagLatestRun(owned.sandbox, id).catch((error: unknown) => {
    log.warn({ runId: id, sandboxId: owned.id, err: error }, 'sandbox not tagged with its latest run')
  })
  const runner = await SandboxProcess.start(owned.sandbox, command, {
    step: 'start Claude',
    silenceMs,
    workdir: owned.workdir,
    timeoutMs: timeoutMs + backstopMs,
    env: { ...model.env, ...access?.env, ...runEnvironment(owned), ...runMark(id) },
    secrets,
    meanings: { ...sandboxGone, invalid: 'CLAUDE_FAILED' }
  }).catch(async (error: unknown) => {
    // It may have happened all the same.
    await endRun(owned, id, 'cancelled').catch((cause: unknown) => {
      log.warn({ runId: id, sandboxId: owned.id, err: cause }, 'failed start of a run not rolled back')
    })
    throw error
  })
  await tagged
  return { started, runner }
}

function startedRecord (id: string, owned: OwnedSandbox, spec: RunSpec, timeoutMs: number): StartedRecord {
  return {
    record: 'started',
    run: id,
    sandboxId: owned.id,
    sessionId: spec.continue ? null : spec.sessionId ?? randomUUID(),
    startedAt: new Date().toISOString(),
    prompt: [...textOf(spec.prompt)].slice(0, 200).join(''),
    format: spec.outputFormat ?? 'stream-json',
    onDisconnect: spec.onDisconnect ?? 'terminate',
    timeoutMs,
    ...isInteractive(spec) && { asks: true }
  }
}

/** The Modal secret with the model key, when the operator named one. A wrong name is not the client's mistake. */
async function lookUpSecret (client: ModalClient, name: string | undefined): Promise<Secret[]> {
  if (name === undefined) return []
  return [await callModal('model secret', lookupMs, () => client.secrets.fromName(name), { notFound: 'CLAUDE_FAILED' })]
}

export interface Limits {
  timeoutMs: number
  /** How long a run goes on without readers, when it must have some. */
  graceMs: number
  /** How long Claude waits for an answer. */
  permissionMs: number
}

/** What the CLI reads as the prompt. A line break in front keeps a leading slash from being a command of the CLI's. */
export function promptText ({ prompt, literal = true, outputFormat }: RunSpec): string {
  const content = contentOf(prompt, (text) => literal ? `\n${text}` : text)
  return outputFormat === 'text' ? String(content) : `${JSON.stringify({ type: 'user', message: { role: 'user', content } })}\n`
}

/**
 * argv of the runner and Claude under it. Nothing secret and nothing long is in it; values can't become options.
 * @param settings variables that go before those of a project's settings.
 */
export function runnerCommand (
  owned: OwnedSandbox, runId: string, spec: RunSpec, sessionId: string | null,
  { timeoutMs, graceMs, permissionMs }: Limits, settings?: Record<string, string>
): string[] {
  const grace = spec.onDisconnect === 'continue' ? '-' : String(graceMs)
  const permissionTimeout = isInteractive(spec) ? String(permissionMs) : '-'
  return ['sh', `${stateOf(runId)}/runner.sh`, stateOf(runId), directoryOf(owned, runId), lock, execMarker, runId,
    sessionId ?? '-', String(timeoutMs), grace, permissionTimeout, ['claude', ...claudeOptions(spec, settings)].map(quote).join(' ')]
}

/** @throws {AppError} BAD_REQUEST when the command line is longer than Modal takes. */
function checkArguments (command: string[]) {
  if (command.reduce((sum, { length }) => sum + length, 0) <= argvLimit) return
  const message = 'body.appendSystemPrompt, allowedTools and disallowedTools are too long together.'
  throw new AppError('BAD_REQUEST', { message })
}

function claudeOptions (spec: RunSpec, settings: Record<string, string> | undefined): string[] {
  const format = spec.outputFormat ?? 'stream-json'
  return [
    '-p',
    `--output-format=${format}`,
    ...format === 'stream-json' ? ['--input-format=stream-json', '--verbose', '--include-partial-messages'] : [],
    ...permissionOptions(spec),
    '--system-prompt-snapshot=off',
    ...option('--settings', settingsOf(spec, settings)),
    ...spec.continue ? ['--continue'] : [],
    ...spec.fork ? [`--resume=${spec.fork.sessionId}`, '--fork-session'] : [],
    ...option('--resume-session-at', spec.fork?.at),
    ...option('--model', spec.model),
    ...option('--effort', spec.effort),
    ...option('--allowed-tools', spec.allowedTools?.join(',')),
    ...option('--disallowed-tools', spec.disallowedTools?.join(',')),
    ...option('--append-system-prompt', spec.appendSystemPrompt),
    ...option('--max-turns', spec.maxTurns),
    ...option('--max-budget-usd', spec.maxBudgetUsd)
  ]
}

function permissionOptions (spec: RunSpec): string[] {
  // The sandbox is the permission: what runs in it can reach nothing else.
  const { permissionMode = 'bypassPermissions' } = spec
  const mode = `--permission-mode=${permissionMode === 'ask' ? 'default' : permissionMode}`
  if (!isInteractive(spec)) return [mode]
  // Without the last one, Claude can't go on with bypassPermissions once its plan is approved.
  return [mode, '--permission-prompt-tool=stdio', '--allow-dangerously-skip-permissions']
}

/** While it plans, Claude asks whoever answers, not a classifier of Anthropic's that gateways do not reach. */
function settingsOf (spec: RunSpec, env: Record<string, string> | undefined): string | undefined {
  const settings = { ...env && { env }, ...isInteractive(spec) && { useAutoModeDuringPlan: false } }
  return Object.keys(settings).length === 0 ? undefined : JSON.stringify(settings)
}

function option (name: string, value: string | number | undefined): string[] {
  return value === undefined ? [] : [`${name}=${value}`]
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
