import { digest } from '../../lib/ids.js'

/**
 * An account's id as part of Modal names. Plain short ids stay readable; any other becomes a digest. The digest's form
 * has a dot, which a plain id cannot have, so no id can equal another's digest, and a volume's name (without dots, too)
 * cannot reach into another account's. Capitals are not plain: whether Modal's names are case-sensitive is not
 * documented. JSON, because in UTF-8 all unpaired surrogates would become the same character.
 */
export function slug (accountId: string): string {
  return /^[a-z0-9][a-z0-9_-]{0,30}$/.test(accountId) ? accountId : `sha256.${digest(JSON.stringify(accountId), 24)}`
}

/** The Modal app that holds everything of an account (1.4). */
export function appName (accountId: string): string {
  return `acct-${slug(accountId)}`
}

/** The Modal app of what the service does for itself. No account's is called so. */
export const serviceAppName = 'modal-sandbox-service'

/** The Modal volume behind an account's volume name (`[A-Za-z0-9_-]`, at most 32 characters): 64 at most in all. */
export function volumeName (accountId: string, name: string): string {
  return `${slug(accountId)}.${name}`
}

/** Whether a Modal volume is the account's. What follows its prefix has no dot, as a digest is followed by one. */
export function isVolumeOf (accountId: string, modalName: string): boolean {
  const prefix = volumeName(accountId, '')
  return modalName.startsWith(prefix) && !modalName.slice(prefix.length).includes('.')
}

/** The Modal queue that records which sessions of an account have ended. */
export function endedSessionsName (accountId: string): string {
  return `${appName(accountId)}.ended-sessions`
}

/** The Modal queue that records how far sandboxes of an account are that are created while nobody waits. */
export function creationsName (accountId: string): string {
  return `${appName(accountId)}.creations`
}

/** The directory below a workspace in which the Claude CLI keeps conversations and settings. */
export const claudeDirectory = '.claude-sandbox'
