import ignore from 'ignore'
import { partPrefix } from './keys.js'
import type { Entry, Workspace } from './workspace.js'

/** Rules of the user's own, in the language of `.gitignore`, at the top of the workspace. It is synced itself. */
export const ignoreFile = '.syncignore'
const longest = 1024 * 1024

/** What no session needs again: logs, caches and credentials of the CLI, and traces of network file systems. */
const always = `
/.claude-sandbox/.credentials.json
/.claude-sandbox/debug/
/.claude-sandbox/ide/
/.claude-sandbox/shell-snapshots/
/.claude-sandbox/statsig/
/.claude-sandbox/telemetry/
.nfs*
${partPrefix}*
/lost+found/
`

/** The entries that are to be stored. */
export async function withoutIgnored (workspace: Workspace, entries: Map<string, Entry>): Promise<Map<string, Entry>> {
  // Sets of their own: the user's rules must not bring back what ours leave out.
  const rules = [ignore({ ignorecase: false }).add(always)]
  const own = entries.get(ignoreFile)
  if (own?.type === 'file' && own.size <= longest) {
    for await (const read of workspace.readMany([own])) {
      if ('body' in read) rules.push(ignore({ ignorecase: false }).add(read.body.toString()))
    }
  }
  const wanted = new Map<string, Entry>()
  for (const [path, entry] of entries) {
    const name = entry.type === 'directory' ? `${path}/` : path
    if (!rules.some((set) => set.ignores(name))) wanted.set(path, entry)
  }
  return wanted
}
