import { digest } from '../../lib/ids.js'
import { CourierLost } from './courier.js'
import { S3Fault } from './faults.js'
import { ordered } from './flow.js'
import { packKey } from './keys.js'
import type { Packed, Saved } from './manifest.js'
import type { Mover } from './mover.js'
import type { ObjectStore } from './object-store.js'
import { packTogether } from './outgoing.js'
import { isWorthMoving } from './parts.js'
import { batchesOf, cipher, findPlaces, looseFiles, type Packs, type SmallFile } from './packs.js'
import type { Entry, Workspace } from './workspace.js'

/** Packs that are made side by side. */
const packsAtOnce = 2

export interface Packing {
  workspace: Workspace
  store: ObjectStore
  /** What is in the workspace, by path. */
  wanted: ReadonlyMap<string, Entry>
  /** What S3 had before, and the packs it has. */
  known: ReadonlyMap<string, Saved>
  packs: Packs
}

/** What a pack that was stored holds: the hashes of contents, and where they begin. */
interface Pack { hash: string, starts: Map<string, number> }

/**
 * Puts the contents of many small files together into a few objects, besides their own, so that a download needs one
 * request for a thousand of them. It is only a help: where it can't be done, all goes as well without.
 * @param entries what is stored; gets the new places. @returns whether there are any.
 */
export async function packSmall (entries: Map<string, Saved>, packing: Packing): Promise<boolean> {
  const { known, packs, wanted } = packing
  const places = findPlaces(entries, known, packs)
  for (const [path, packed] of places) entries.set(path, { ...entries.get(path)!, packed })
  const loose = looseFiles(entries, packs).filter(([path]) => wanted.has(path))
  const byContent = new Map(loose.map((file) => [file[1].hashes[0]!, file]))
  const found = new Map<string, Packed>()
  try {
    for await (const { hash, starts } of makePacks([...byContent.values()], packing)) {
      for (const [content, start] of starts) found.set(content, { pack: hash, start })
    }
  } catch (error) {
    if (!(error instanceof S3Fault) && !(error instanceof CourierLost)) throw error
  }
  for (const [path, saved] of loose) {
    const packed = found.get(saved.hashes[0]!)
    if (packed !== undefined) entries.set(path, { ...saved, packed })
  }
  return places.size + found.size > 0
}

async function * makePacks (files: SmallFile[], packing: Packing): AsyncGenerator<Pack> {
  const { workspace, store } = packing
  const mover = isWorthMoving(files.map(([, saved]) => saved)) ? await workspace.mover?.(store.origin) : undefined
  const make = async (batch: SmallFile[]) => mover === undefined
    ? await packHere(batch, packing)
    : await packThere(batch, mover, store)
  yield * ordered(batchesOf(files), () => 0, make, packsAtOnce, Infinity)
}

async function packThere (batch: SmallFile[], mover: Mover, store: ObjectStore): Promise<Pack> {
  const files = batch.map(([path, { size, hashes }]) => ({ path, size, content: hashes[0]! }))
  const { hash, failed, courier, drop } = await packTogether(mover, files)
  const starts = new Map<string, number>()
  let size = 0
  for (const [index, file] of files.entries()) {
    if (!failed.has(index)) starts.set(file.content, size)
    size += file.size
  }
  await store.putFrom(courier, packKey(hash), { hash, size }, {}).finally(drop)
  return { hash, starts }
}

async function packHere (batch: SmallFile[], { workspace, store, wanted }: Packing): Promise<Pack> {
  const contents = new Map(batch.map(([path, { hashes }]) => [path, hashes[0]!]))
  const bodies: Buffer[] = []
  const starts = new Map<string, number>()
  let start = 0
  for await (const read of workspace.readMany(batch.map(([path]) => wanted.get(path)!))) {
    if (!('body' in read)) continue
    const content = digest(read.body)
    if (content !== contents.get(read.entry.path)) continue
    starts.set(content, start)
    start += read.body.length
    bodies.push(cipher(read.body, content))
  }
  const body = Buffer.concat(bodies)
  const hash = digest(body)
  await store.put(packKey(hash), body)
  return { hash, starts }
}
