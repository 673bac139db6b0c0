import { CourierLost } from './courier.js'
import { describe } from './describe.js'
import type { DownloadOutcome } from './download-outcome.js'
import { S3Fault } from './faults.js'
import { ordered } from './flow.js'
import { Incoming, unpack } from './incoming.js'
import type { Saved } from './manifest.js'
import type { Mover } from './mover.js'
import { moveAll, moveParts } from './moves.js'
import { planUnpacking, type Packs, type PackTarget } from './packs.js'
import { partSizeFor } from './parts.js'
import type { Target } from './plan-download.js'

/** Each is in the sandbox' memory as a whole. */
const packsAtOnce = 4

/**
 * Has objects fetched to where they belong from there: packs first, then what is in none, or did not come with one.
 * @returns those that have to come the other way.
 */
export async function moveDown (
  mover: Mover, targets: Target[], packs: Packs, outcome: DownloadOutcome
): Promise<Target[]> {
  const { packed, single } = planUnpacking(targets, packs)
  const move = async (pack: PackTarget) => await movePack(mover, pack, outcome)
  for await (const missing of ordered(packed, () => 0, move, packsAtOnce, Infinity)) single.push(...missing)
  const left = await moveAll(single, {
    small: async (target) => await moveSmall(new Incoming(mover, outcome.store, target), target, outcome),
    large: async (target) => await moveLarge(new Incoming(mover, outcome.store, target), target, outcome),
    failed: (_target, error) => outcome.fatal(error)
  })
  outcome.check()
  return left
}

/** @returns what did not come with it: the objects themselves know better. */
async function movePack (mover: Mover, pack: PackTarget, outcome: DownloadOutcome): Promise<Target[]> {
  const movable = pack.targets.filter(({ saved }) => isMovable(saved))
  try {
    const missing = await unpack(mover, outcome.store, { ...pack, targets: movable })
    for (const target of movable) if (!missing.has(target)) outcome.placed(target, target.saved, true)
    return [...missing, ...pack.targets.filter(({ saved }) => !isMovable(saved))]
  } catch (error) {
    if (!(error instanceof S3Fault) && !(error instanceof CourierLost)) throw error
    return pack.targets
  }
}

async function moveSmall (incoming: Incoming, target: Target, outcome: DownloadOutcome): Promise<boolean> {
  const { size, saved } = target
  if (saved === undefined) return await moveForeign(incoming, target, outcome)
  if (!isMovable(saved)) return false
  const { hash, proved } = await incoming.place(saved.hashes[0], saved)
  outcome.placed(target, describe(target, { size, metadata: {} }, [hash], 0).saved, proved)
  return true
}

/** The object itself says what it is. */
async function moveForeign (incoming: Incoming, target: Target, outcome: DownloadOutcome): Promise<boolean> {
  const { hash, metadata } = await incoming.hold()
  const { entry, saved } = describe(target, { size: target.size, metadata }, [hash], 0)
  if (isMovable(entry)) outcome.placed(target, saved, await incoming.settle(entry))
  else await incoming.drop()
  return isMovable(entry)
}

async function moveLarge (incoming: Incoming, target: Target, outcome: DownloadOutcome): Promise<boolean> {
  const { size } = target
  const ofParts = partSizeFor(size)
  const expected = target.saved?.partSize === ofParts ? target.saved.hashes : []
  const hashes: string[] = []
  const count = outcome.tally.provisional()
  let told: Record<string, string> = {}
  let isDone = false
  try {
    await incoming.create()
    await moveParts(size, async (index, start, length) => {
      const { hash, metadata } = await incoming.fetch(expected[index], start, length)
      hashes[index] = hash
      told = metadata
      count.add(length)
      return true
    })
    const { entry, saved } = describe(target, { size, metadata: told }, hashes, ofParts)
    if (!isMovable(entry)) return false
    await incoming.finish(entry)
    isDone = true
    count.undo()
    outcome.placed(target, saved)
    return true
  } finally {
    count.undo()
    // What is not to be finished, for whatever reason, leaves nothing behind.
    if (!isDone) await incoming.discard()
  }
}

/** Node.js has no times before 1970, and links are made when all files are there. */
function isMovable ({ type, mtime }: Pick<Saved, 'type' | 'mtime'>): boolean {
  return type === 'file' && Number(mtime) >= 0
}
