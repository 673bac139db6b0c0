import { setTimeout as sleep } from 'node:timers/promises'
import type { Container } from '../container/types.js'
import type { ProbeMessage } from '../proto/messages.js'

const defaultIntervalMs = 1000

/** Probes until it succeeds or the sandbox ends. A sandbox can be idle while it is probed. */
export class Readiness {
  /** When the probe first succeeded, in seconds since the epoch; undefined if the sandbox ended before that. */
  readonly readyAt: Promise<number | undefined>

  constructor (container: Container, probe: ProbeMessage) {
    const ended = new AbortController()
    container.exited.then(() => ended.abort(), () => ended.abort())
    this.readyAt = probeUntil(() => succeeds(container, probe), probe.intervalMs ?? defaultIntervalMs, ended.signal)
  }
}

async function probeUntil (succeeds: () => Promise<boolean>, intervalMs: number, ended: AbortSignal) {
  while (!ended.aborted) {
    if (await succeeds().catch(() => false)) return Date.now() / 1000
    await sleep(intervalMs, undefined, { signal: ended }).catch(() => {})
  }
  return undefined
}

/** A command that exits 0, or a process of the sandbox that takes connections on the port. */
async function succeeds (container: Container, { execCommand, tcpPort }: ProbeMessage): Promise<boolean> {
  if (tcpPort !== undefined) return await container.listener(tcpPort) !== undefined
  const process = await container.exec({ command: execCommand?.argv ?? [], stdout: 'ignore', stderr: 'ignore' })
  const status = await process.exited
  return 'code' in status && status.code === 0
}
