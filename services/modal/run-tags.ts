import type { Sandbox } from 'modal'
import { callModal, lookupMs } from './call.js'
import type { Tags } from './wire-tags.js'

/** The latest run, and the latest change that was none of a run's. */
export interface Latest { run: string | null, change: string | null }

export type RunState = 'running' | 'ended' | 'unknown'

/**
 * The sandbox's latest run; after a dot, what has changed since then that no run has changed. A tag beside those of
 * services/sandboxes/tags.ts, like the next.
 */
const latestTag = 'ms-run'
/** The latest run, once it is over. */
const endedTag = 'ms-run-ended'

/** Modal can only replace all tags of a sandbox: here one change waits for the one before. */
const changes = new Map<string, Promise<void>>()
/** Runs whose end is about to be tagged, by sandbox. */
const ended = new Map<string, Set<string>>()

/**
 * Tags a sandbox with its latest run, so that every replica knows of it without asking the sandbox.
 * @param begun settles when it is that; the tags are read meanwhile, which saves a round trip.
 * @throws what `begun` throws; then there is no such run.
 */
export async function tagLatestRun (sandbox: Sandbox, runId: string, begun?: Promise<void>): Promise<void> {
  await change(sandbox, (tags) => latestIn(tags).run === runId ? undefined : { ...tags, [latestTag]: runId }, begun)
}

/** Tags a sandbox with the end of a run. A later run's tag says the same: then it stays as it is. */
export async function tagEndedRun (sandbox: Sandbox, runId: string): Promise<void> {
  const others = ended.get(sandbox.sandboxId)
  if (others !== undefined) {
    others.add(runId)
    return await changes.get(sandbox.sandboxId)
  }
  const runIds = new Set([runId])
  const forget = () => { if (ended.get(sandbox.sandboxId) === runIds) ended.delete(sandbox.sandboxId) }
  ended.set(sandbox.sandboxId, runIds)
  await change(sandbox, (tags) => {
    forget()
    const { run: latest } = latestIn(tags)
    if (latest === null || !runIds.has(latest) || tags[endedTag] === latest) return
    return { ...tags, [endedTag]: latest }
  }).finally(forget)
}

/** Tags a sandbox when a conversation was renamed or deleted, so that every replica looks again. */
export async function tagChange (sandbox: Sandbox, changeId: string): Promise<void> {
  await change(sandbox, (tags) => ({ ...tags, [latestTag]: `${latestIn(tags).run ?? ''}.${changeId}` }))
}

/** What a sandbox's tags say. */
export async function latestOf (sandbox: Sandbox): Promise<Latest> {
  return latestIn(await callModal('tags', lookupMs, () => sandbox.getTags()))
}

function latestIn (tags: Tags): Latest {
  const [run = '', change = ''] = (tags[latestTag] ?? '').split('.')
  return { run: run || null, change: change || null }
}

/** What a sandbox's tags say of a run: `unknown` when they name another, which is an earlier one while it starts. */
export function runState (tags: Tags, runId: string): RunState {
  if (latestIn(tags).run !== runId) return 'unknown'
  return tags[endedTag] === runId ? 'ended' : 'running'
}

/** `changed` returns all tags, or nothing when they are to stay; they are set once `when` has settled. */
async function change (
  sandbox: Sandbox, changed: (tags: Tags) => Tags | undefined, when: Promise<void> = Promise.resolve()
): Promise<void> {
  const { sandboxId } = sandbox
  // It may be refused before it is this one's turn.
  when.catch(() => {})
  const before = changes.get(sandboxId) ?? Promise.resolve()
  const done = before.catch(() => {}).then(async () => {
    const [tags] = await Promise.all([callModal('tag sandbox', lookupMs, () => sandbox.getTags()), when])
    const wanted = changed(tags)
    if (wanted !== undefined) await callModal('tag sandbox', lookupMs, () => sandbox.setTags(wanted))
  }).finally(() => { if (changes.get(sandboxId) === done) changes.delete(sandboxId) })
  changes.set(sandboxId, done)
  await done
}
