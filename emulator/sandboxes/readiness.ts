import { setTimeout as sleep } from 'node:timers/promises'
import type { Container } from '../container/types.js'

const defaultIntervalMs = 1000

/** Runs an exec probe until it exits 0 or the sandbox ends. A sandbox can be idle while its probe runs. */
export class Readiness {
  /** When the probe first succeeded, in seconds since the epoch; undefined if the sandbox ended before that. */
  readonly readyAt: Promise<number | undefined>

  constructor (container: Container, command: string[], intervalMs = defaultIntervalMs) {
    const ended = new AbortController()
    container.exited.then(() => ended.abort(), () => ended.abort())
    this.readyAt = probe(container, command, intervalMs, ended.signal)
  }
}

async function probe (container: Container, command: string[], intervalMs: number, ended: AbortSignal) {
  while (!ended.aborted) {
    if (await succeeds(container, command)) return Date.now() / 1000
    await sleep(intervalMs, undefined, { signal: ended }).catch(() => {})
  }
  return undefined
}

async function succeeds (container: Container, command: string[]): Promise<boolean> {
  try {
    const process = await container.exec({ command, stdout: 'ignore', stderr: 'ignore' })
    const status = await process.exited
    return 'code' in status && status.code === 0
  } catch {
    return false
  }
}
