const concurrency = 10

/** Runs `work` on every item, at most ten at a time; the results are in the order of the items. */
export async function mapConcurrently<T, R> (items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = new Array(items.length)
  const queue = items.entries()
  await Promise.all(Array.from({ length: concurrency }, async () => {
    for (const [index, item] of queue) results[index] = await work(item)
  }))
  return results
}
