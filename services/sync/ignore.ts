import ignore from 'ignore'
import { partPrefix } from './s3/keys.js'
import type { Entry, Workspace } from './workspace/workspace.js'

/** Rules of the user's own, in the language of `.gitignore`, at the top of the workspace. It is synced itself. */
export const ignoreFile = '.syncignore'
const longest = 1024 * 1024

/**
 * What no session needs again: logs, caches and credentials of the CLI, and traces of network file systems. One
 * expression, as every path is asked; that of a directory ends in a slash.
 */
const always = new RegExp([
  '^\\.claude-sandbox/(?:debug|ide|shell-snapshots|statsig|telemetry)/',
  '^\\.claude-sandbox/\\.credentials\\.json(?:/|$)',
  '^lost\\+found/',
  `(?:^|/)(?:\\.nfs|\\${partPrefix})`
].join('|'))

/** The entries that are to be stored. */
export async function withoutIgnored (workspace: Workspace, entries: Map<string, Entry>): Promise<Map<string, Entry>> {
  const theirs = ignore({ ignorecase: false })
  const own = entries.get(ignoreFile)
  const hasOwn = own?.type === 'file' && own.size <= longest
  if (hasOwn) {
    for await (const read of workspace.readMany([own])) if ('body' in read) theirs.add(read.body.toString())
  }
  const wanted = new Map<string, Entry>()
  for (const [path, entry] of entries) {
    const name = entry.type === 'directory' ? `${path}/` : path
    // Two sets of rules: theirs must not bring back what ours leave out.
    if (!always.test(name) && !(hasOwn && theirs.ignores(name))) wanted.set(path, entry)
  }
  return wanted
}
