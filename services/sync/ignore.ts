import ignore from 'ignore'
import type { Remote } from './remote.js'
import { partPrefix, withoutSlash } from './s3/keys.js'
import { fromMetadata } from './s3/metadata.js'
import type { ObjectStore } from './s3/object-store.js'
import { keyOf } from './transfer/entries.js'
import type { Entry, Workspace } from './workspace/workspace.js'

/** The user's own rules, in the syntax of `.gitignore`, at the top of the workspace. The file itself is synced. */
const ignoreFile = '.syncignore'
const maxFileBytes = 1024 * 1024

/**
 * What no session needs again: logs, caches and credentials of the CLI, what each run makes anew, and leftovers of
 * network file systems. One expression, as every path is tested; the path of a directory ends in a slash.
 */
const always = new RegExp([
  '^\\.claude-sandbox/(?:debug|ide|shell-snapshots|statsig|telemetry)/',
  '^\\.claude-sandbox/\\.(?:credentials\\.json|gitignore)(?:/|$)',
  '^lost\\+found/',
  `(?:^|/)(?:\\.nfs|\\${partPrefix})`
].join('|'))

type Rules = (path: string, isDirectory: boolean) => boolean

/** The entries that are to be stored, and the rules: what they name stays in S3. */
export async function withoutIgnored (
  workspace: Workspace, entries: Map<string, Entry>
): Promise<{ wanted: Map<string, Entry>, isIgnored: Rules }> {
  const isIgnored = rulesOf(await readHere(workspace, entries.get(ignoreFile)))
  return { wanted: new Map([...entries].filter(([path, { type }]) => !isIgnored(path, type === 'directory'))), isIgnored }
}

/**
 * What a download is concerned with: what the rules name, S3 keeps and the workspace keeps, too. S3's rules count, as
 * the workspace is about to have them; those of the workspace where S3 has none.
 */
export async function withoutIgnoredObjects (
  remote: Remote, store: ObjectStore, workspace: Workspace, entries: Map<string, Entry>
): Promise<Pick<Remote, 'tracked' | 'untracked' | 'missing' | 'warnings'> & { ignored: number }> {
  const { tracked, untracked, missing, warnings } = remote
  const isIgnored = rulesOf(await readThere(store, remote) ?? await readHere(workspace, entries.get(ignoreFile)))
  const rest = {
    tracked: new Map([...tracked].filter(([path, { type }]) => !isIgnored(path, type === 'directory'))),
    untracked: new Map([...untracked].filter(([path, { key }]) => !isIgnored(path, key.endsWith('/')))),
    missing: new Map([...missing].filter(([path, { type }]) => !isIgnored(path, type === 'directory'))),
    warnings: warnings.filter(({ path }) => !isIgnored(withoutSlash(path), path.endsWith('/')))
  }
  const ignored = tracked.size + untracked.size - rest.tracked.size - rest.untracked.size
  return { ...rest, ignored }
}

/** The user's must not bring back what ours leave out, so these are two sets of rules. */
function rulesOf (text: string | undefined): Rules {
  const rules = text === undefined ? undefined : ignore({ ignorecase: false }).add(text)
  return (path, isDirectory) => {
    const name = isDirectory ? `${path}/` : path
    if (always.test(name)) return true
    return rules !== undefined && ignore.isPathValid(name) && rules.ignores(name)
  }
}

async function readHere (workspace: Workspace, file: Entry | undefined): Promise<string | undefined> {
  if (file?.type !== 'file' || file.size > maxFileBytes) return
  for await (const read of workspace.readMany([file])) if ('body' in read) return read.body.toString()
}

async function readThere (store: ObjectStore, { tracked, untracked }: Remote): Promise<string | undefined> {
  const saved = tracked.get(ignoreFile)
  const object = untracked.get(ignoreFile) ?? (saved && { key: keyOf(ignoreFile, saved), size: saved.size })
  if (object === undefined || object.size > maxFileBytes || object.key.endsWith('/')) return
  const { body, metadata } = await store.get(object.key)
  return (saved?.type ?? fromMetadata(object.key, metadata).type) === 'file' ? body.toString() : undefined
}
