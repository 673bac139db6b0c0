import { createHash } from 'node:crypto'
import { AppError, wrap } from '../../errors.js'
import { toRecord } from '../../lib/json.js'
import { runCommand } from '../modal/process.js'
import { loadScript } from '../modal/script.js'
import type { OwnedSandbox } from '../sandboxes/owned.js'
import { homeOf } from './run-directory.js'

const readScript = loadScript(import.meta.url, 'read-settings.sh')
const writeScript = loadScript(import.meta.url, 'write-settings.sh')
const exitChanged = 75
const exitNoFile = 77
const settingsBytes = 1024 * 1024
const attempts = 5

interface Settings { permissions?: { allow?: unknown } }

/**
 * The tools that Claude uses in a workspace without asking, as rules of the CLI's such as `Bash(npm test:*)`: those
 * that were remembered for it, in the CLI's own settings on the volume.
 */
export class WorkspaceRules {
  /** @throws {AppError} SETTINGS_UNREADABLE, SANDBOX_ENDED. */
  async read (owned: OwnedSandbox): Promise<string[]> {
    return rulesIn((await readSettings(owned)).settings)
  }

  /** Replaces them. What else the settings have is kept. @throws {AppError} SETTINGS_UNREADABLE, SANDBOX_ENDED. */
  async write (owned: OwnedSandbox, allow: string[]): Promise<string[]> {
    for (let attempt = 0; attempt < attempts; attempt++) {
      const { text, settings } = await readSettings(owned)
      const changed = { ...settings, permissions: { ...settings.permissions, allow: [...new Set(allow)] } }
      const before = createHash('md5').update(text).digest('hex')
      const command = ['sh', '-c', writeScript, 'write-settings', homeOf(owned), before]
      const stdin = `${JSON.stringify(changed, null, 2)}\n`
      const { exitCode, stderr } = await runCommand(owned.sandbox, 'write settings', command, { stdin })
      if (exitCode === 0) return rulesIn(changed)
      if (exitCode === exitNoFile) throw unreadable()
      if (exitCode !== exitChanged) {
        throw wrap(new Error(`exit code ${exitCode}: ${stderr}`), 'write settings', 'COMMAND_FAILED')
      }
    }
    throw new AppError('COMMAND_FAILED', { step: 'write settings', message: 'Something else changes the settings all the time.' })
  }
}

async function readSettings (owned: OwnedSandbox): Promise<{ text: Buffer, settings: Settings }> {
  const command = ['sh', '-c', readScript, 'read-settings', homeOf(owned), String(settingsBytes)]
  const { exitCode, stdout: text } = await runCommand(owned.sandbox, 'read settings', command, { limit: settingsBytes })
  if (exitCode !== 0) throw unreadable()
  if (text.length === 0) return { text, settings: {} }
  try {
    const settings = toRecord(JSON.parse(text.toString('utf8')))
    if (settings !== undefined && toRecord(settings['permissions'] ?? {}) !== undefined) return { text, settings }
  } catch {}
  throw unreadable()
}

/** Anything in the sandbox can write them. */
function rulesIn ({ permissions }: Settings): string[] {
  const allow = permissions?.allow
  return Array.isArray(allow) ? allow.filter((rule) => typeof rule === 'string' && rule !== '') : []
}

function unreadable (): AppError {
  return new AppError('SETTINGS_UNREADABLE')
}
