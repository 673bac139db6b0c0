import { createCipheriv } from 'node:crypto'
import { packKey } from './s3/keys.js'
import type { PackedTarget, PackLocation, PackTarget, SavedEntry, Target } from './transfer/entries.js'

/** A pack is in memory as a whole. */
const packSize = 4 * 1024 * 1024
const packFiles = 1000
/** Larger files are worth a request of their own. */
const largestFile = 64 * 1024
/** So few files are fetched one by one as fast. */
const fewestFiles = 16
/** So many bytes that nobody wants are as good as a request more. */
const worthOfRequest = 256 * 1024

/** A key has only one content, so all may begin with the same. */
const firstCounter = Buffer.alloc(16)

/** Packs that S3 has, by hash, and their sizes. */
export type Packs = ReadonlyMap<string, number>

export type SmallFile = [path: string, saved: SavedEntry]

/**
 * Enciphers a content for a pack, or deciphers it, with its own hash as the key (AES-256 in counter mode): when a file
 * is deleted the manifest forgets the key, and nobody can read what is left of it in a pack.
 */
export function cipher (content: Buffer, hash: string): Buffer {
  return createCipheriv('aes-256-ctr', Buffer.from(hash, 'hex'), firstCounter).update(content)
}

/**
 * Where the contents of small files are in packs already, as far as they have no place yet: whoever moves a file does
 * not change what is in it. @param known what S3 had.
 */
export function findPackLocations (
  entries: ReadonlyMap<string, SavedEntry>, known: ReadonlyMap<string, SavedEntry>, packs: Packs
): Map<string, PackLocation> {
  const isThere = (packed?: PackLocation) => packed !== undefined && packs.has(packed.pack)
  const lost = entriesThat(entries, (saved) => isPackable(saved) && !isThere(saved.packed))
  if (lost.length === 0) return new Map()
  const byContent = new Map<string, PackLocation>()
  for (const { packed, hashes } of known.values()) if (isThere(packed)) byContent.set(hashes[0]!, packed!)
  const found = lost.map(([path, { hashes }]) => [path, byContent.get(hashes[0]!)])
  return new Map(found.filter((place): place is [string, PackLocation] => place[1] !== undefined))
}

/**
 * Small files that are in no pack of use, unless they are few. One of which less than half is needed any more is of
 * none: what is left of it goes into a new one.
 */
export function filesToPack (entries: ReadonlyMap<string, SavedEntry>, packs: Packs): SmallFile[] {
  const used = bytesUsed(entries)
  const isUseful = ({ pack }: PackLocation) => packs.has(pack) && used.get(pack)! * 2 >= packs.get(pack)!
  const loose = entriesThat(entries, (saved) =>
    isPackable(saved) && (saved.packed === undefined || !isUseful(saved.packed)))
  return loose.length < fewestFiles ? [] : loose
}

/** Mostly there are few among many, so nothing is made for the others. */
function entriesThat (entries: ReadonlyMap<string, SavedEntry>, isWanted: (saved: SavedEntry) => boolean): SmallFile[] {
  const found: SmallFile[] = []
  for (const [path, saved] of entries) if (isWanted(saved)) found.push([path, saved])
  return found
}

function isPackable ({ type, size, hashes }: SavedEntry): boolean {
  return type === 'file' && size > 0 && size <= largestFile && hashes.length === 1
}

function bytesUsed (entries: ReadonlyMap<string, SavedEntry>): Map<string, number> {
  const used = new Map<string, number>()
  for (const { packed, size } of entries.values()) {
    if (packed !== undefined) used.set(packed.pack, (used.get(packed.pack) ?? 0) + size)
  }
  return used
}

/** Files in the order in which they are packed, pack by pack. */
export function * packBatches (files: SmallFile[]): Generator<SmallFile[]> {
  let batch: SmallFile[] = []
  let bytes = 0
  for (const file of files) {
    const { size } = file[1]
    if (batch.length === packFiles || bytes + size > packSize) {
      yield batch
      batch = []
      bytes = 0
    }
    batch.push(file)
    bytes += size
  }
  if (batch.length > 0) yield batch
}

/** Packs that no entry needs any more. */
export function unusedPacks (entries: ReadonlyMap<string, SavedEntry>, packs: Packs): string[] {
  const used = bytesUsed(entries)
  return [...packs.keys()].filter((pack) => !used.has(pack))
}

/** Which packs are worth fetching, and what has to be fetched one by one. */
export function planUnpacking (targets: Target[], packs: Packs): { packed: PackTarget[], single: Target[] } {
  const byPack = new Map<string, PackedTarget[]>()
  for (const target of targets) {
    if (!isPacked(target)) continue
    const { pack } = target.saved.packed
    if (byPack.has(pack)) byPack.get(pack)!.push(target)
    else byPack.set(pack, [target])
  }
  const packed: PackTarget[] = []
  const taken = new Set<Target>()
  for (const [pack, targets] of byPack) {
    const size = packs.get(pack) ?? Infinity
    const unwanted = size - targets.reduce((sum, { size }) => sum + size, 0)
    if (size > packSize || unwanted > (targets.length - 1) * worthOfRequest) continue
    packed.push({ key: packKey(pack), size, targets })
    for (const target of targets) taken.add(target)
  }
  return { packed, single: targets.filter((target) => !taken.has(target)) }
}

function isPacked (target: Target): target is PackedTarget {
  return target.saved?.packed !== undefined && target.saved.type === 'file'
}
