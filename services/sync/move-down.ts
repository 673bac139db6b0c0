import { describe } from './describe.js'
import type { DownloadOutcome } from './download-outcome.js'
import { Incoming } from './incoming.js'
import type { Saved } from './manifest.js'
import type { Mover } from './mover.js'
import { moveAll, moveParts } from './moves.js'
import { partSizeFor } from './parts.js'
import type { Target } from './plan-download.js'

/** Has objects fetched to where they belong from there. @returns those that have to come the other way. */
export async function moveDown (mover: Mover, targets: Target[], outcome: DownloadOutcome): Promise<Target[]> {
  const left = await moveAll(targets, {
    small: async (target) => await moveSmall(new Incoming(mover, outcome.store, target), target, outcome),
    large: async (target) => await moveLarge(new Incoming(mover, outcome.store, target), target, outcome),
    failed: (_target, error) => outcome.fatal(error)
  })
  outcome.check()
  return left
}

async function moveSmall (incoming: Incoming, target: Target, outcome: DownloadOutcome): Promise<boolean> {
  const { size, saved } = target
  if (saved === undefined) return await moveForeign(incoming, target, outcome)
  if (!isMovable(saved)) return false
  const { hash, found } = await incoming.place(saved.hashes[0], saved)
  outcome.placed(target, describe(target, { size, metadata: {} }, [hash], 0).saved, found)
  return true
}

/** The object itself says what it is. */
async function moveForeign (incoming: Incoming, target: Target, outcome: DownloadOutcome): Promise<boolean> {
  return await orNothing(incoming, async () => {
    const { hash, metadata } = await incoming.fetch()
    const { entry, saved } = describe(target, { size: target.size, metadata }, [hash], 0)
    if (!isMovable(entry)) return false
    outcome.placed(target, saved, await incoming.finish(entry, true))
    return true
  })
}

async function moveLarge (incoming: Incoming, target: Target, outcome: DownloadOutcome): Promise<boolean> {
  const { size } = target
  const ofParts = partSizeFor(size)
  const expected = target.saved?.partSize === ofParts ? target.saved.hashes : []
  const hashes: string[] = []
  const count = outcome.tally.provisional()
  let told: Record<string, string> = {}
  return await orNothing(incoming, async () => {
    await moveParts(size, async (index, start, length) => {
      const { hash, metadata } = await incoming.fetch(expected[index], { start, length })
      hashes[index] = hash
      told = metadata
      count.add(length)
      return true
    })
    const { entry, saved } = describe(target, { size, metadata: told }, hashes, ofParts)
    if (!isMovable(entry)) return false
    await incoming.finish(entry, false)
    count.undo()
    outcome.placed(target, saved)
    return true
  }).finally(count.undo)
}

/** What is not to be finished, for whatever reason, leaves nothing behind. */
async function orNothing (incoming: Incoming, fetchAndFinish: () => Promise<boolean>): Promise<boolean> {
  let isDone = false
  try {
    await incoming.create()
    isDone = await fetchAndFinish()
    return isDone
  } finally {
    if (!isDone) await incoming.discard()
  }
}

/** Node.js has no times before 1970, and links are made when all files are there. */
function isMovable ({ type, mtime }: Pick<Saved, 'type' | 'mtime'>): boolean {
  return type === 'file' && Number(mtime) >= 0
}
