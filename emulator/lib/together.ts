/** Calls that come while one is under way share the next one: no answer is older than its question. */
export function together<T> (look: () => Promise<T>): () => Promise<T> {
  let current: Promise<void> | undefined
  let next: Promise<T> | undefined
  const start = () => {
    const answer = look()
    const settled = answer.then(() => {}, () => {}).then(() => { if (current === settled) current = undefined })
    current = settled
    return answer
  }
  return async () => {
    if (current === undefined) return await start()
    next ??= current.then(() => {
      next = undefined
      return start()
    })
    return await next
  }
}
