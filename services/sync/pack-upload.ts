import { mapOrdered } from '../../lib/concurrency.js'
import { digest } from '../../lib/ids.js'
import { packBatches, findPackLocations, filesToPack, type Packs, type SmallFile } from './packs.js'
import { S3Error } from './s3/errors.js'
import { packKey } from './s3/keys.js'
import type { ObjectStore } from './s3/object-store.js'
import { bufferPack, storeBody } from './transfer/agent-upload.js'
import { AgentUnavailable, type AgentLauncher, type TransferAgent } from './transfer/agent.js'
import type { PackLocation, SavedEntry } from './transfer/entries.js'
import type { Entry, Workspace } from './workspace/workspace.js'

/** Packs that are made side by side. */
const packsAtOnce = 2

export interface PackingContext {
  workspace: Workspace
  store: ObjectStore
  agentLauncher?: AgentLauncher | undefined
  /** What is in the workspace, by path. */
  wanted: ReadonlyMap<string, Entry>
  /** What S3 had before, and the packs it has. */
  tracked: ReadonlyMap<string, SavedEntry>
  packs: Packs
}

/** What a pack that was stored holds: the hashes of contents, and where they begin. */
interface Pack { hash: string, starts: Map<string, number> }

/**
 * Puts the contents of many small files together into a few objects, besides their own, so that a download needs one
 * request for a thousand of them. It is only a help: where it can't be done, all goes as well without.
 * @param entries what is stored; gets the new places. @returns whether there are any.
 */
export async function uploadPacks (entries: Map<string, SavedEntry>, packing: PackingContext): Promise<boolean> {
  const { tracked, packs, wanted } = packing
  const places = findPackLocations(entries, tracked, packs)
  for (const [path, packed] of places) entries.set(path, { ...entries.get(path)!, packed })
  const loose = filesToPack(entries, packs).filter(([path]) => wanted.has(path))
  const byContent = new Map(loose.map((file) => [file[1].hashes[0]!, file]))
  const found = new Map<string, PackLocation>()
  try {
    for await (const { hash, starts } of makePacks([...byContent.values()], packing)) {
      for (const [content, start] of starts) found.set(content, { pack: hash, start })
    }
  } catch (error) {
    if (!(error instanceof S3Error) && !(error instanceof AgentUnavailable)) throw error
  }
  for (const [path, saved] of loose) {
    const packed = found.get(saved.hashes[0]!)
    if (packed !== undefined) entries.set(path, { ...saved, packed })
  }
  return places.size + found.size > 0
}

async function * makePacks (files: SmallFile[], packing: PackingContext): AsyncGenerator<Pack> {
  const { store, agentLauncher } = packing
  const agent = await agentLauncher?.agentFor(files.map(([, saved]) => saved), store)
  const make = async (batch: SmallFile[]) => agent === undefined
    ? await packHere(batch, packing)
    : await packThere(batch, agent, store)
  yield * mapOrdered(packBatches(files), () => 0, make, packsAtOnce, Infinity)
}

async function packThere (batch: SmallFile[], agent: TransferAgent, store: ObjectStore): Promise<Pack> {
  const files = batch.map(([path, { size, hashes }]) => ({ path, size, content: hashes[0]! }))
  const { body, failed } = await bufferPack(agent, files)
  const starts = new Map<string, number>()
  let size = 0
  for (const [index, file] of files.entries()) {
    if (!failed.has(index)) starts.set(file.content, size)
    size += file.size
  }
  await storeBody(store, packKey(body.hash), body, {})
  return { hash: body.hash, starts }
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
  await store.put(packKey(hash), body)
  return { hash, starts }
}
