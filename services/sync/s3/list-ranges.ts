import { mapOrdered } from '../transfer/concurrency.js'
import { S3Error } from './errors.js'
import { pathProblem } from './keys.js'
import type { ObjectInfo } from './list.js'
import type { ObjectStore } from './object-store.js'

const rangesAtOnce = 6
/** A manifest is anybody's text, and each of them is a request. */
const mostRanges = 1000

/** Keys after one and up to another. */
interface Range { after: string, to: string | undefined }

/**
 * Everything under a store's prefix, page by page in the order of the keys.
 * @param pageEnds keys with which pages are likely to end, so that they can be asked for side by side; where that is
 * wrong it takes a few more pages. @throws {S3Error} and what `pageEnds` throws.
 */
export async function * listInRanges (
  store: ObjectStore, pageEnds: Promise<string[]>
): AsyncGenerator<ObjectInfo[]> {
  const pages = store.list()
  const [first, ends] = await Promise.all([pages.next(), pageEnds])
  if (first.done) return
  const ranges = rangesAfter(first.value.at(-1)?.key ?? '', ends)
  const listed = mapOrdered(ranges, () => 0, async (range) => await listRange(store, range), rangesAtOnce, Infinity)
  // They are asked for while the first page is looked at.
  const begun = ranges.length > 1 ? listed.next() : undefined
  begun?.catch(() => {})
  yield first.value
  const second = (await begun)?.value as ObjectInfo[] | undefined
  if (second === undefined) return yield * pages
  yield second
  for await (const objects of listed) {
    if (objects === undefined) throw new S3Error('ListOutOfOrder')
    yield objects
  }
}

/** The last one is open: there may be more than was expected. */
function rangesAfter (after: string, pageEnds: string[]): Range[] {
  const ends = pageEnds.slice(0, mostRanges).filter((key) => isKey(key) && inOrder(after, key) < 0).sort(inOrder)
  return [after, ...ends].map((start, index) => ({ after: start, to: ends[index] }))
}

/** What can't be a key can't be asked for. */
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
