import { closeSync } from 'node:fs'
import { isatty } from 'node:tty'
import closeWithGrace from 'close-with-grace'

/**
 * Signals that report a fault of the process itself. A handler in JavaScript returns to the instruction that failed,
 * which fails again: a process that should have ended then runs for ever.
 */
const faults = ['SIGILL', 'SIGTRAP', 'SIGABRT', 'SIGBUS', 'SIGFPE', 'SIGSEGV'] as const

interface ClosingOptions {
  /** How long closing may take, in milliseconds. */
  delay: number
  logger: false | { error: (message: unknown) => void }
}

/**
 * Ends the process in order on signals and on errors that nothing caught. A closed terminal sends a signal, too, even
 * under `nohup`: Node.js does not keep it ignored.
 */
export function closeInOrder (
  { delay, logger }: ClosingOptions, close: (reason: { signal?: string, err?: Error }) => Promise<void>
) {
  tolerateDeadTerminals()
  closeWithGrace({ delay, logger, skip: [...faults] }, close)
}

/** At its exit Node.js restores the mode of each terminal it was started on, and crashes when that one is gone. */
function tolerateDeadTerminals () {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
  const terminals = [0, 1, 2].filter((fd) => isatty(fd))
  process.once('exit', () => {
    for (const fd of terminals) if (!isatty(fd)) closeSync(fd)
  })
}
