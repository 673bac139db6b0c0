import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { attempt } from '../lib/attempt.js'

const pageBytes = 4096

/** The processes of one PID namespace, and how much memory they may use. */
interface Watched { pidNamespace: string, limitBytes: number, onExceeded: () => void }

/**
 * Looks now and then how much memory the processes of containers use. Control groups would do it at once, but need a
 * machine that lets them be made. What is used and given back between two looks is not seen.
 */
export class MemoryWatch {
  readonly #watched = new Set<Watched>()
  readonly #intervalMs: number
  #timer: NodeJS.Timeout | undefined

  constructor (intervalMs: number) {
    this.#intervalMs = intervalMs
  }

  /**
   * @param pid of a process in the PID namespace. @param onExceeded is called at most once.
   * @returns what ends the watch
   */
  add (pid: number, limitBytes: number, onExceeded: () => void): () => void {
    const watched = { pidNamespace: readlinkSync(`/proc/${pid}/ns/pid`), limitBytes, onExceeded }
    this.#watched.add(watched)
    this.#timer ??= setInterval(() => { this.#look() }, this.#intervalMs).unref()
    return () => { this.#remove(watched) }
  }

  #remove (watched: Watched): void {
    this.#watched.delete(watched)
    if (this.#watched.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #look (): void {
    const processes = byNamespace(new Set([...this.#watched].map(({ pidNamespace }) => pidNamespace)))
    for (const watched of this.#watched) {
      const pids = processes.get(watched.pidNamespace) ?? []
      const exceeds = (bytesOf: (pid: string) => number) =>
        pids.reduce((sum, pid) => sum + (attempt(() => bytesOf(pid)) ?? 0), 0) > watched.limitBytes
      // The exact figure takes long, and is never the larger one.
      if (!exceeds(ownBytes) || !exceeds(shareBytes)) continue
      this.#remove(watched)
      watched.onExceeded()
    }
  }
}

/** The pids of the machine's processes in these PID namespaces. */
function byNamespace (wanted: Set<string>): Map<string, string[]> {
  const found = new Map<string, string[]>([...wanted].map((namespace) => [namespace, []]))
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    found.get(attempt(() => readlinkSync(`/proc/${pid}/ns/pid`)) ?? '')?.push(pid)
  }
  return found
}

/** Memory that is no file's; what forked processes still share is counted for each. */
function ownBytes (pid: string): number {
  const [, resident, shared] = readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')
  return (Number(resident) - Number(shared)) * pageBytes
}

/** The same, where what is shared by several is divided among them. */
function shareBytes (pid: string): number {
  const [, kibibytes] = /^Pss_Anon:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))!
  return Number(kibibytes) * 1024
}
