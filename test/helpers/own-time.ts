/**
 * Starts a clock that goes as fast as this process is let run: on a busy machine its ticks come late, and late ticks
 * are not made up for. So a limit on it tells what waits too long from what has to wait for a processor.
 */
export function ownTime () {
  const tickMs = 20
  let ms = 0
  const timer = setInterval(() => { ms += tickMs }, tickMs)
  return { stop () { clearInterval(timer); return ms } }
}

/** Time of a processor that this process has used, whatever else the machine does. */
export function processorMs (work: () => void): number {
  const before = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}
