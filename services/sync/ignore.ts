import ignore from 'ignore'
import { partPrefix } from './s3/keys.js'
import type { Entry, Workspace } from './workspace/workspace.js'

/** The user's own rules, in the syntax of `.gitignore`, at the top of the workspace. The file itself is synced. */
const ignoreFile = '.syncignore'
const maxFileBytes = 1024 * 1024

/**
 * What no session needs again: logs, caches and credentials of the CLI, and leftovers of network file systems. One
 * expression, as every path is tested; the path of a directory ends in a slash.
 */
const always = new RegExp([
  '^\\.claude-sandbox/(?:debug|ide|shell-snapshots|statsig|telemetry)/',
  '^\\.claude-sandbox/\\.credentials\\.json(?:/|$)',
  '^lost\\+found/',
  `(?:^|/)(?:\\.nfs|\\${partPrefix})`
].join('|'))

/** The entries that are to be stored. */
export async function withoutIgnored (workspace: Workspace, entries: Map<string, Entry>): Promise<Map<string, Entry>> {
  const rules = ignore({ ignorecase: false })
  const file = entries.get(ignoreFile)
  const hasRules = file?.type === 'file' && file.size <= maxFileBytes
  if (hasRules) {
    for await (const read of workspace.readMany([file])) if ('body' in read) rules.add(read.body.toString())
  }
  const wanted = new Map<string, Entry>()
  for (const [path, entry] of entries) {
    const name = entry.type === 'directory' ? `${path}/` : path
    // Two sets of rules: the user's must not bring back what ours leave out.
    if (!always.test(name) && !(hasRules && rules.ignores(name))) wanted.set(path, entry)
  }
  return wanted
}
