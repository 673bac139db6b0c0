/** Undefined when the call throws: for files that may have vanished, or that may not be read. */
export function attempt<T> (work: () => T): T | undefined {
  try {
    return work()
  } catch {}
}
