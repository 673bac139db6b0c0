import { mapOrdered } from '../../lib/concurrency.js'
import { digest } from '../../lib/ids.js'
import { S3Error } from './s3/errors.js'
import { packKey } from './s3/keys.js'
import type { ObjectStore } from './s3/object-store.js'
import { bufferPack, storeBody } from './transfer/agent-upload.js'
import { AgentUnavailable, type AgentLauncher, type TransferAgent } from './transfer/agent.js'
import type { PackedTarget, PackLocation, PackTarget, SavedEntry, Target } from './transfer/entries.js'
import type { Entry, Workspace } from './workspace/workspace.js'

/** A pack is in memory as a whole. */
const maxPackBytes = 4 * 1024 * 1024
const maxPackFiles = 1000
/** Larger files are worth a request of their own. */
const maxFileBytes = 64 * 1024
/** Fewer files are fetched one by one as fast. */
const minFiles = 16
/** Fetching so many bytes in vain costs as much as a request. */
const bytesPerRequest = 256 * 1024
/** Packs that are made side by side. */
const packsInFlight = 2

/** Packs that S3 has, by hash, and their sizes. */
export type Packs = ReadonlyMap<string, number>

type SmallFile = [path: string, saved: SavedEntry]

interface PackingContext {
  workspace: Workspace
  store: ObjectStore
  agentLauncher?: AgentLauncher | undefined
  /** What is in the workspace, by path. */
  wanted: ReadonlyMap<string, Entry>
  /** What S3 had before, and the packs it has. */
  tracked: ReadonlyMap<string, SavedEntry>
  packs: Packs
  /** When a pack is given up, and what is still needed of it goes into a new one. */
  repack: 'on-any-removal' | 'when-half-unused'
}

/** A pack that was sent: its hash, its size and ETag, and where in it contents begin, by their hashes. */
interface Pack { hash: string, size: number, etag: string, starts: Map<string, number> }

/**
 * Puts the contents of many small files together into a few objects, besides their own, so that a download needs one
 * request for a thousand of them. Packs only ever save requests: where one cannot be stored, nothing else changes.
 * @param entries what is stored; gets the new locations. @returns the packs that were sent,
 * and whether any location has changed.
 */
export async function uploadPacks (
  entries: Map<string, SavedEntry>, context: PackingContext
): Promise<{ sent: Pack[], isChanged: boolean }> {
  const { tracked, packs, wanted, repack } = context
  const reused = findPackLocations(entries, tracked, packs)
  for (const [path, packed] of reused) entries.set(path, { ...entries.get(path)!, packed })
  const dropped = dropUnusable(entries, packs, repack)
  const loose = filesToPack(entries).filter(([path]) => wanted.has(path))
  const byContent = new Map(loose.map((file) => [file[1].hashes[0]!, file]))
  const found = new Map<string, PackLocation>()
  const sent: Pack[] = []
  try {
    for await (const pack of makePacks([...byContent.values()], context)) {
      for (const [content, start] of pack.starts) found.set(content, { pack: pack.hash, start })
      if (pack.etag !== '') sent.push(pack)
    }
  } catch (error) {
    if (!(error instanceof S3Error) && !(error instanceof AgentUnavailable)) throw error
  }
  for (const [path, saved] of loose) {
    const packed = found.get(saved.hashes[0]!)
    if (packed !== undefined) entries.set(path, { ...saved, packed })
  }
  return { sent, isChanged: reused.size + dropped + found.size > 0 }
}

/** Takes entries out of packs that S3 does not have. */
export function withdrawPacks (entries: Map<string, SavedEntry>, hashes: ReadonlySet<string>) {
  if (hashes.size === 0) return
  const lost = entriesThat(entries, ({ packed }) => packed !== undefined && hashes.has(packed.pack))
  for (const [path, { packed, ...saved }] of lost) entries.set(path, saved)
}

/** Packs that no entry needs any more. */
export function unusedPacks (entries: ReadonlyMap<string, SavedEntry>, packs: Packs): string[] {
  const used = new Set<string>()
  for (const { packed } of entries.values()) if (packed !== undefined) used.add(packed.pack)
  return [...packs.keys()].filter((pack) => !used.has(pack))
}

/** Divides what has to be fetched into packs that are worth it, and what comes from its own object. */
export function planUnpacking (targets: Target[], packs: Packs): { packed: PackTarget[], single: Target[] } {
  const byPack = new Map<string, PackedTarget[]>()
  for (const target of targets) {
    if (!isPacked(target)) continue
    const { pack } = target.saved.packed
    if (byPack.has(pack)) byPack.get(pack)!.push(target)
    else byPack.set(pack, [target])
  }
  const packed: PackTarget[] = []
  const inPacks = new Set<Target>()
  for (const [pack, targets] of byPack) {
    const size = packs.get(pack) ?? Infinity
    const unwanted = size - targets.reduce((sum, { size }) => sum + size, 0)
    if (size > maxPackBytes || unwanted > (targets.length - 1) * bytesPerRequest) continue
    packed.push({ key: packKey(pack), size, targets })
    for (const target of targets) inPacks.add(target)
  }
  return { packed, single: targets.filter((target) => !inPacks.has(target)) }
}

function isPacked (target: Target): target is PackedTarget {
  // A manifest is untrusted input: a file that no pack can hold is not fetched into memory for it.
  return target.saved?.packed !== undefined && target.saved.type === 'file' && target.size <= maxPackBytes
}

/** Finds contents of entries without a location in packs that S3 has: a file that was moved is not packed again. */
function findPackLocations (
  entries: ReadonlyMap<string, SavedEntry>, tracked: ReadonlyMap<string, SavedEntry>, packs: Packs
): Map<string, PackLocation> {
  const exists = (packed?: PackLocation) => packed !== undefined && packs.has(packed.pack)
  const lost = entriesThat(entries, (saved) => isPackable(saved) && !exists(saved.packed))
  if (lost.length === 0) return new Map()
  const byContent = new Map<string, PackLocation>()
  for (const { packed, hashes } of tracked.values()) if (exists(packed)) byContent.set(hashes[0]!, packed!)
  const found = lost.map(([path, { hashes }]) => [path, byContent.get(hashes[0]!)])
  return new Map(found.filter((location): location is [string, PackLocation] => location[1] !== undefined))
}

/** Takes entries out of packs that are gone or to be given up. @returns how many there were. */
function dropUnusable (entries: Map<string, SavedEntry>, packs: Packs, repack: PackingContext['repack']): number {
  const used = bytesUsed(entries)
  const isUsable = ({ pack }: PackLocation) => {
    const [bytes, size] = [used.get(pack)!, packs.get(pack)]
    return size !== undefined && (repack === 'on-any-removal' ? bytes === size : bytes * 2 >= size)
  }
  const unusable = entriesThat(entries, ({ packed }) => packed !== undefined && !isUsable(packed))
  for (const [path, { packed, ...saved }] of unusable) entries.set(path, saved)
  return unusable.length
}

/** Small files that are in no pack, unless they are few; in order, so that the same files give the same packs. */
function filesToPack (entries: ReadonlyMap<string, SavedEntry>): SmallFile[] {
  const loose = entriesThat(entries, (saved) => isPackable(saved) && saved.packed === undefined)
  return loose.length < minFiles ? [] : loose.sort(([one], [other]) => one < other ? -1 : 1)
}

/** Usually a few among many, so nothing is allocated for the others. */
function entriesThat (entries: ReadonlyMap<string, SavedEntry>, isWanted: (saved: SavedEntry) => boolean): SmallFile[] {
  const found: SmallFile[] = []
  for (const [path, saved] of entries) if (isWanted(saved)) found.push([path, saved])
  return found
}

function isPackable ({ type, size, hashes }: SavedEntry): boolean {
  return type === 'file' && size > 0 && size <= maxFileBytes && hashes.length === 1
}

/** How much of each pack is in use; files with the same content share their place in it. */
function bytesUsed (entries: ReadonlyMap<string, SavedEntry>): Map<string, number> {
  const sizes = new Map<string, Map<number, number>>()
  for (const { packed, size } of entries.values()) {
    if (packed === undefined) continue
    const { pack, start } = packed
    if (sizes.has(pack)) sizes.get(pack)!.set(start, size)
    else sizes.set(pack, new Map([[start, size]]))
  }
  return new Map([...sizes].map(([pack, places]) => [pack, [...places.values()].reduce((sum, size) => sum + size, 0)]))
}

async function * makePacks (files: SmallFile[], context: PackingContext): AsyncGenerator<Pack> {
  const { store, agentLauncher } = context
  const agent = await agentLauncher?.agentFor(files.map(([, saved]) => saved), store)
  const make = async (batch: SmallFile[]) => agent === undefined
    ? await packHere(batch, context)
    : await packByAgent(batch, agent, store)
  yield * mapOrdered(packBatches(files), () => 0, make, packsInFlight, Infinity)
}

/** Files in the order in which they are packed, pack by pack. */
function * packBatches (files: SmallFile[]): Generator<SmallFile[]> {
  let batch: SmallFile[] = []
  let bytes = 0
  for (const file of files) {
    const { size } = file[1]
    if (batch.length === maxPackFiles || bytes + size > maxPackBytes) {
      yield batch
      batch = []
      bytes = 0
    }
    batch.push(file)
    bytes += size
  }
  if (batch.length > 0) yield batch
}

async function packByAgent (batch: SmallFile[], agent: TransferAgent, store: ObjectStore): Promise<Pack> {
  const files = batch.map(([path, { size, hashes }]) => ({ path, size, content: hashes[0]! }))
  const { body, failed } = await bufferPack(agent, files)
  const starts = new Map<string, number>()
  let size = 0
  for (const [index, file] of files.entries()) {
    if (!failed.has(index)) starts.set(file.content, size)
    size += file.size
  }
  const etag = await storeBody(store, packKey(body.hash), body, {})
  return { hash: body.hash, size, etag, starts }
}

async function packHere (batch: SmallFile[], { workspace, store, wanted }: PackingContext): Promise<Pack> {
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
    bodies.push(read.body)
  }
  const body = Buffer.concat(bodies)
  const hash = digest(body)
  const { etag } = bodies.length > 0 ? await store.put(packKey(hash), body) : { etag: '' }
  return { hash, size: body.length, etag, starts }
}
