import { S3Fault } from './faults.js'
import { ordered } from './flow.js'
import { pathProblem } from './keys.js'
import type { ObjectInfo } from './object-list.js'
import type { ObjectStore } from './object-store.js'

const rangesAtOnce = 6
/** A page has 1,000 keys; what others have put there, too, should not make two of one. */
const keysInRange = 950

/** Keys after one and up to another. */
interface Range { after: string, to: string | undefined }

/**
 * Everything under a store's prefix, page by page in the order of the keys. Those that are most likely there tell where
 * pages will begin, so that they can be asked for side by side; where that is wrong it takes a few more pages.
 * @throws {S3Fault} and what `expected` throws.
 */
export async function * listAll (
  store: ObjectStore, expected: Promise<Iterable<string>>
): AsyncGenerator<ObjectInfo[]> {
  const pages = store.list()
  const [first, keys] = await Promise.all([pages.next(), expected])
  if (first.done) return
  yield first.value
  const ranges = rangesAfter(first.value.at(-1)?.key ?? '', keys)
  const listed = ordered(ranges, () => 0, async (range) => await listRange(store, range), rangesAtOnce, Infinity)
  const second = ranges.length > 1 ? (await listed.next()).value as ObjectInfo[] | undefined : undefined
  if (second === undefined) return yield * pages
  yield second
  for await (const objects of listed) {
    if (objects === undefined) throw new S3Fault('ListOutOfOrder')
    yield objects
  }
}

/** The last one is open: there may be more than was expected. */
function rangesAfter (after: string, keys: Iterable<string>): Range[] {
  const ends = [...keys].filter((key) => key > after).sort()
    .filter((_key, index) => index % keysInRange === keysInRange - 1)
    .filter((key) => isKey(key) && inOrder(after, key) < 0).sort(inOrder)
  return [after, ...ends].map((start, index) => ({ after: start, to: ends[index] }))
}

/** A manifest is anybody's text: what can't be a key can't be asked for. */
function isKey (key: string): boolean {
  return pathProblem(key, '') === undefined && Buffer.from(key).toString() === key
}

/** @returns undefined from a server that does not begin where it was asked to. */
async function listRange (store: ObjectStore, { after, to }: Range): Promise<ObjectInfo[] | undefined> {
  const objects: ObjectInfo[] = []
  for await (const page of store.list('', after)) {
    if (page.length > 0 && inOrder(page[0]!.key, after) <= 0) return
    const within = to === undefined ? page.length : page.findLastIndex(({ key }) => inOrder(key, to) <= 0) + 1
    objects.push(...within === page.length ? page : page.slice(0, within))
    if (within < page.length) break
  }
  return objects
}

/** S3 orders keys by their bytes; strings are ordered otherwise. */
function inOrder (one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other))
}
