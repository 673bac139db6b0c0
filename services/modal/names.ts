import { digest } from '../../lib/ids.js'

/**
 * An account's id as part of Modal names. Plain short ids stay readable; any other is a digest. The digest's form has
 * a dot, which plain ids have not, so no id can be another's digest, and a volume name (which has no dot either)
 * can't continue into another account's. Capitals are not plain: whether Modal tells them from small letters is not
 * documented. JSON keeps apart what UTF-8 does not: half characters all become the same one.
 */
export function slug (accountId: string): string {
  return /^[a-z0-9][a-z0-9_-]{0,30}$/.test(accountId) ? accountId : `sha256.${digest(JSON.stringify(accountId), 24)}`
}

/** The Modal app that holds everything of an account (1.4). */
export function appName (accountId: string): string {
  return `acct-${slug(accountId)}`
}

/** The Modal volume behind an account's volume name (`[A-Za-z0-9_-]`, at most 32 characters): 64 at most in all. */
export function volumeName (accountId: string, name: string): string {
  return `${slug(accountId)}.${name}`
}
