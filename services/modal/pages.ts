/** What a list has of each entry, at least; no two have the same. */
interface Row { createdAt: number }

/** A page: all that was created before a time, newest first, as far as it goes. */
interface Page<T> { before: number, rows: Promise<T[]> }

/** Lists whose pages are remembered. */
const mostLists = 1000

/** Where the pages of lists ended when those were last read to their end, by the name of the list. */
export type PageEnds = Map<string, number[]>

/**
 * Reads a list of Modal's, newest first. A page is asked for by what it comes before, and only an empty one ends the
 * list: one after the other, each would be a round trip. So pages that end and begin as the last time are asked for at
 * once. That is a guess: where they leave a gap, as entries have come or gone since, it is closed as usual.
 * @param ask for the page before a time, or the first one.
 */
export async function * readPages<T extends Row> (
  ends: PageEnds, name: string, ask: (before?: number) => Promise<T[]>
): AsyncGenerator<T> {
  const pages: Page<T>[] = []
  const open = (before: number) => {
    const rows = ask(before === Infinity ? undefined : before)
    // Whoever reads the list may leave before this page.
    rows.catch(() => {})
    pages.push({ before, rows })
    return rows
  }
  for (const before of [Infinity, ...ends.get(name) ?? []]) open(before)
  const read: number[] = []
  for (let at = Infinity; ;) {
    const rows = (await furthest(pages, at) ?? await open(at)).filter(({ createdAt }) => createdAt < at)
    if (rows.length === 0) break
    yield * rows
    at = rows.at(-1)!.createdAt
    read.push(at)
  }
  ends.delete(name)
  ends.set(name, read)
  if (ends.size > mostLists) ends.delete(ends.keys().next().value!)
}

/** Of the pages that leave no gap behind what was read down to `at`, the one that goes on furthest. */
async function furthest<T extends Row> (pages: Page<T>[], at: number): Promise<T[] | undefined> {
  let [found, end]: [T[] | undefined, number] = [undefined, at]
  for (const { rows } of pages.filter(({ before }) => before >= at)) {
    const last = (await rows).at(-1)?.createdAt ?? -Infinity
    if (last < end) [found, end] = [await rows, last]
  }
  return found
}
