import type { SavedEntry } from '../manifest.js'
import { planUnpacking, type Packs, type PackTarget } from '../packs.js'
import type { Target } from '../plan-download.js'
import { S3Error } from '../s3/errors.js'
import { IncomingFile, unpack } from './agent-incoming.js'
import { transferAll, transferParts } from './agent-schedule.js'
import type { TransferAgent } from './agent.js'
import { mapOrdered } from './concurrency.js'
import { AgentUnavailable } from './courier.js'
import { describeEntry } from './describe.js'
import type { DownloadOutcome } from './download-outcome.js'
import { partSizeFor } from './limits.js'

/** Each is in the sandbox' memory as a whole. */
const packsAtOnce = 4

/**
 * Has objects fetched to where they belong from there: packs first, then what is in none, or did not come with one.
 * @returns those that have to come the other way.
 */
export async function downloadByAgent (
  mover: TransferAgent, targets: Target[], packs: Packs, outcome: DownloadOutcome
): Promise<Target[]> {
  const { packed, single } = planUnpacking(targets, packs)
  const move = async (pack: PackTarget) => await movePack(mover, pack, outcome)
  for await (const missing of mapOrdered(packed, () => 0, move, packsAtOnce, Infinity)) single.push(...missing)
  const left = await transferAll(single, {
    small: async (target) => await moveSmall(new IncomingFile(mover, outcome.store, target), target, outcome),
    large: async (target) => await moveLarge(new IncomingFile(mover, outcome.store, target), target, outcome),
    failed: (_target, error) => outcome.fatal(error)
  })
  outcome.check()
  return left
}

/** @returns what did not come with it: the objects themselves know better. */
async function movePack (mover: TransferAgent, pack: PackTarget, outcome: DownloadOutcome): Promise<Target[]> {
  const movable = pack.targets.filter(({ saved }) => isMovable(saved))
  try {
    const missing = await unpack(mover, outcome.store, { ...pack, targets: movable })
    for (const target of movable) if (!missing.has(target)) outcome.placed(target, target.saved, true)
    return [...missing, ...pack.targets.filter(({ saved }) => !isMovable(saved))]
  } catch (error) {
    if (!(error instanceof S3Error) && !(error instanceof AgentUnavailable)) throw error
    return pack.targets
  }
}

async function moveSmall (incoming: IncomingFile, target: Target, outcome: DownloadOutcome): Promise<boolean> {
  const { size, saved } = target
  if (saved === undefined) return await moveForeign(incoming, target, outcome)
  if (!isMovable(saved)) return false
  const { hash, proved } = await incoming.fetchAndCommit(saved.hashes[0], saved)
  outcome.placed(target, describeEntry(target, { size, metadata: {} }, [hash], 0).saved, proved)
  return true
}

/** The object itself says what it is. */
async function moveForeign (incoming: IncomingFile, target: Target, outcome: DownloadOutcome): Promise<boolean> {
  const { hash, metadata } = await incoming.fetchWhole()
  const { entry, saved } = describeEntry(target, { size: target.size, metadata }, [hash], 0)
  if (isMovable(entry)) outcome.placed(target, saved, await incoming.commit(entry))
  else await incoming.drop()
  return isMovable(entry)
}

async function moveLarge (incoming: IncomingFile, target: Target, outcome: DownloadOutcome): Promise<boolean> {
  const { size } = target
  const ofParts = partSizeFor(size)
  const expected = target.saved?.partSize === ofParts ? target.saved.hashes : []
  const hashes: string[] = []
  const count = outcome.tally.provisional()
  let told: Record<string, string> = {}
  let isDone = false
  try {
    await incoming.create()
    await transferParts(size, async (index, start, length) => {
      const { hash, metadata } = await incoming.fetchPart(expected[index], start, length)
      hashes[index] = hash
      told = metadata
      count.add(length)
      return true
    })
    const { entry, saved } = describeEntry(target, { size, metadata: told }, hashes, ofParts)
    if (!isMovable(entry)) return false
    await incoming.commitParts(entry)
    isDone = true
    count.undo()
    outcome.placed(target, saved)
    return true
  } finally {
    count.undo()
    // What is not to be finished, for whatever reason, leaves nothing behind.
    if (!isDone) await incoming.discardParts()
  }
}

/** Node.js has no times before 1970, and links are made when all files are there. */
function isMovable ({ type, mtime }: Pick<SavedEntry, 'type' | 'mtime'>): boolean {
  return type === 'file' && Number(mtime) >= 0
}
