import { mapOrdered } from '../../../lib/concurrency.js'
import { S3Error } from './errors.js'
import { pathProblem } from './keys.js'
import type { ObjectInfo } from './list.js'
import type { ObjectStore } from './object-store.js'

const rangesAtOnce = 6
/** A page of S3's list has 1,000 keys; a few objects of others should not make two pages of one. */
export const keysInPage = 950
/** A manifest is untrusted input, and each range costs a request. */
const maxRanges = 1000

/** Keys greater than `after`, up to and including `to`. */
interface Range { after: string, to: string | undefined }

/** Keys greater than `after`, up to and including `to`, which fit on a page. */
type KeyGroup = Range & { to: string }

/**
 * Everything under a store's prefix, page by page in the order of the keys.
 * @param pageEnds keys at which pages probably end, so that several can be requested at once; wrong ones only cost a
 * few more requests. @throws {S3Error} and what `pageEnds` throws.
 */
export async function * listInRanges (
  store: ObjectStore, pageEnds: Promise<string[]>
): AsyncGenerator<ObjectInfo[]> {
  const pages = store.list()
  const [first, ends] = await Promise.all([pages.next(), pageEnds])
  if (first.done) return
  const ranges = rangesAfter(first.value.at(-1)?.key ?? '', ends)
  const listed = mapOrdered(ranges, () => 0, async (range) => await listRange(store, range), rangesAtOnce, Infinity)
  // Requested while the caller works on the first page.
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

/**
 * Puts keys into groups, each of which fits on a page of S3's list.
 * @param known other keys that are there, too.
 */
export function groupKeys (keys: string[], known: Iterable<string>): KeyGroup[] {
  const wanted = new Set(keys)
  const all = sortKeys([...new Set([...wanted, ...known])])
  const groups: KeyGroup[] = []
  let begin = -Infinity
  for (const [index, key] of all.entries()) {
    if (!wanted.has(key)) continue
    if (index - begin < keysInPage) groups.at(-1)!.to = key
    else {
      begin = index
      groups.push({ after: startBefore(key, all[index - 1] ?? ''), to: key })
    }
  }
  return groups
}

/** Closer to a key than the one before it, where there may be others that nobody knows of in between. */
function startBefore (key: string, previous: string): string {
  const shorter = [...key].slice(0, -1).join('')
  return compareKeys(shorter, previous) > 0 ? shorter : previous
}

/** Lists what is within the groups, and perhaps a little more. @throws {S3Error} */
export async function * listGroups (store: ObjectStore, groups: KeyGroup[]): AsyncGenerator<ObjectInfo[]> {
  const list = async (group: KeyGroup) => await listRange(store, group)
  for await (const objects of mapOrdered(groups, () => 0, list, rangesAtOnce, Infinity)) {
    if (objects === undefined) return yield * store.list()
    yield objects
  }
}

/** The last range is open: there may be more keys than expected. */
function rangesAfter (after: string, pageEnds: string[]): Range[] {
  const ends = pageEnds.slice(0, maxRanges).filter((key) => isKey(key) && compareKeys(after, key) < 0).sort(compareKeys)
  return [after, ...ends].map((start, index) => ({ after: start, to: ends[index] }))
}

/** S3 refuses a list that starts after something that cannot be a key. */
function isKey (key: string): boolean {
  return pathProblem(key, '') === undefined && Buffer.from(key).toString() === key
}

/** @returns undefined from a server that ignores `start-after`. */
async function listRange (store: ObjectStore, { after, to }: Range): Promise<ObjectInfo[] | undefined> {
  const objects: ObjectInfo[] = []
  for await (const page of store.list('', after)) {
    if (page.length > 0 && compareKeys(page[0]!.key, after) <= 0) return
    const within = to === undefined ? page.length : page.findLastIndex(({ key }) => compareKeys(key, to) <= 0) + 1
    objects.push(...within === page.length ? page : page.slice(0, within))
    if (within < page.length) break
  }
  return objects
}

/** A code unit from which on S3's order of keys, by their UTF-8 bytes, differs from that of JavaScript's strings. */
const isHigh = /[\ud800-\uffff]/

function sortKeys (keys: string[]): string[] {
  return keys.some((key) => isHigh.test(key)) ? keys.sort(compareKeys) : keys.sort()
}

function compareKeys (one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other))
}
