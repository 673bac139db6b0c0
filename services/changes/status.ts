import { AppError } from '../../errors.js'
import type { Change, Repository } from '../../schemas/changes.js'

const kinds: Record<string, Change['kind']> = {
  M: 'modified', T: 'modified', A: 'added', D: 'deleted', R: 'renamed', C: 'copied', U: 'conflicted'
}

/**
 * The script's answer to `status`: the root, the branches line by line, and what `git status --porcelain=v2 -z` says.
 * @param cut whether the end is missing: the last record may be a part of one.
 * @throws {AppError} GIT_FAILED for anything else, as whoever owns the sandbox can replace its programs.
 */
export function parseStatus (text: string, { cut = false } = {}): Repository {
  const [root, branches, ...records] = text.split('\0')
  if (root === undefined || branches === undefined || !root.startsWith('/')) throw unexpected()
  // What follows the last NUL: nothing, or the part of a record.
  if (records.pop() !== '' && !cut) throw unexpected()
  const repository: Repository = {
    repository: true,
    root,
    branch: null,
    commit: null,
    branches: branches.split('\n').filter(Boolean),
    staged: [],
    changed: [],
    untracked: [],
    truncated: cut
  }
  while (records.length > 0) take(records, repository)
  return repository
}

/** Takes one record, which is two where a file was renamed. */
function take (records: string[], found: Repository): void {
  const record = records.shift()!
  const [kind] = record
  if (kind === '#') return readHeader(record, found)
  if (kind === '?') found.untracked.push({ path: fieldsOf(record, 1).path, kind: 'untracked' })
  else if (kind === 'u') found.changed.push({ path: fieldsOf(record, 10).path, kind: 'conflicted' })
  else if (kind === '1' || kind === '2') takeTracked(kind, record, records, found)
  else throw unexpected()
}

function takeTracked (kind: '1' | '2', record: string, records: string[], found: Repository): void {
  const { states, path } = fieldsOf(record, kind === '1' ? 8 : 9)
  const from = kind === '2' ? records.shift() : undefined
  // The earlier name may have been cut off.
  if (kind === '2' && from === undefined && !found.truncated) throw unexpected()
  add(found.staged, states[0], path, from)
  add(found.changed, states[1], path, from)
}

function add (changes: Change[], state: string | undefined, path: string, from: string | undefined): void {
  if (state === '.') return
  const kind = kinds[state ?? '']
  if (kind === undefined) throw unexpected()
  const moved = kind === 'renamed' || kind === 'copied'
  changes.push({ path, kind, ...(moved && from !== undefined && { from }) })
}

function readHeader (record: string, found: Repository): void {
  const [, name, value = ''] = /^# (\S+) (.*)$/.exec(record) ?? []
  if (name === 'branch.oid' && /^[0-9a-f]{40,64}$/.test(value)) found.commit = value
  else if (name === 'branch.head' && value !== '(detached)') found.branch = value
  else if (name === 'branch.upstream') found.upstream = value
  else if (name === 'branch.ab') {
    const [, ahead, behind] = /^\+(\d{1,9}) -(\d{1,9})$/.exec(value) ?? []
    if (ahead === undefined) throw unexpected()
    Object.assign(found, { ahead: Number(ahead), behind: Number(behind) })
  }
}

/** The two letters of a record, and its path, which follows so many fields and may have spaces itself. */
function fieldsOf (record: string, count: number): { states: string, path: string } {
  const fields = record.split(' ')
  const path = fields.slice(count).join(' ')
  if (path === '') throw unexpected()
  return { states: fields[1]!, path }
}

/** Whoever owns a sandbox can replace its programs: then they say something else, or nothing. */
export function unexpected (): AppError {
  return new AppError('GIT_FAILED', { message: 'The sandbox did not answer as expected.' })
}
