/**
 * A clock that runs only as fast as this process does: on a busy machine its ticks come late, and late ticks
 * are not made up for. A limit on it tells what waits too long from what merely waits for a processor.
 */
export function ownTime () {
  const tickMs = 20
  let ms = 0
  const timer = setInterval(() => { ms += tickMs }, tickMs)
  return { stop () { clearInterval(timer); return ms } }
}

/** Processor time that some work takes, whatever else the machine does. */
export function processorMs (work: () => void): number {
  const before = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}
