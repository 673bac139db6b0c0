import type { Direction, SyncProgress, SyncReport } from '../../schemas/sync.js'
import { isCounted } from './manifest.js'
import type { EntryType, Problem } from './workspace/workspace.js'

export type OnProgress = (progress: SyncProgress) => void

const progressMs = 250

/** Counts what a sync does, reports progress now and then, and sums it up. */
export class SyncStats {
  readonly #started = performance.now()
  readonly #onProgress: OnProgress
  readonly #failed = new Map<string, Problem>()
  readonly #warnings = new Map<string, Problem>()
  #reportedAt = 0
  #phase: SyncProgress['phase'] = 'list'
  files = 0
  bytes = 0
  totalFiles = 0
  totalBytes = 0
  skipped = 0
  ignored = 0
  deleted = 0
  verified = 0
  kept = 0

  constructor (onProgress: OnProgress = () => {}) {
    this.#onProgress = onProgress
  }

  get failures (): number {
    return this.#failed.size
  }

  phase (phase: SyncProgress['phase']): void {
    this.#phase = phase
    this.#reportProgress()
  }

  /** @param bytes those that {@link provisional} has not counted. */
  copied (path: string, type: EntryType, bytes: number): void {
    if (isCounted(path, type)) this.files++
    this.#addBytes(bytes)
  }

  /** Counts bytes of a file that may yet fail. */
  provisional (): { add: (bytes: number) => void, undo: () => void } {
    let counted = 0
    return {
      add: (bytes) => {
        counted += bytes
        this.#addBytes(bytes)
      },
      undo: () => {
        this.bytes -= counted
        counted = 0
      }
    }
  }

  /** Takes back a file that was counted and is not there. */
  retract (path: string, type: EntryType, bytes: number): void {
    if (isCounted(path, type)) this.files--
    this.bytes -= bytes
  }

  fail (problem: Problem): void {
    this.#failed.set(problem.path, problem)
  }

  /** Tells what cannot be had as it is: nobody is kept from their work by it. */
  warn (problem: Problem): void {
    this.#warnings.set(`${problem.code} ${problem.path}`, problem)
  }

  hasFailed (path: string): boolean {
    return this.#failed.has(path)
  }

  report (direction: Direction, more: { dryRun?: boolean, version?: string } = {}): SyncReport {
    const { files, bytes, skipped, ignored, deleted, verified, kept } = this
    return {
      direction,
      files,
      bytes,
      skipped,
      ignored,
      deleted,
      kept,
      durationMs: Math.round(performance.now() - this.#started),
      failed: [...this.#failed.values()],
      warnings: [...this.#warnings.values()],
      verified,
      ...more
    }
  }

  /** Of a sync that only says what it would do. */
  dryRun (direction: Direction, deleted: number): SyncReport {
    this.files = this.totalFiles
    this.bytes = this.totalBytes
    this.deleted = deleted
    this.verified = 0
    return this.report(direction, { dryRun: true })
  }

  #addBytes (bytes: number) {
    this.bytes += bytes
    if (performance.now() - this.#reportedAt >= progressMs) this.#reportProgress()
  }

  #reportProgress () {
    this.#reportedAt = performance.now()
    const { files, bytes, totalFiles, totalBytes } = this
    const seconds = (this.#reportedAt - this.#started) / 1000
    const bytesPerSecond = Math.round(bytes / Math.max(seconds, 0.001))
    this.#onProgress({ phase: this.#phase, files, totalFiles, bytes, totalBytes, bytesPerSecond })
  }
}
