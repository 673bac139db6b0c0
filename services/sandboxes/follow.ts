import { setTimeout as sleep } from 'node:timers/promises'
import type { SandboxDetails } from '../../schemas/sandbox.js'
import { onEnded } from '../modal/ending.js'
import type { OwnedSandbox } from './owned.js'

/** When Modal is asked what nobody has told: a run that another replica has started, or its end. */
const lookAgainMs = 15_000
/** What happens at the same time is told at once. */
const togetherMs = 100

export interface FollowOptions {
  look: () => Promise<SandboxDetails>
  /** Calls back when this replica has started a run in the sandbox, or has seen one end. @returns what stops that */
  onActivity: (listener: () => void) => () => void
  signal: AbortSignal
}

/** What becomes of a sandbox: how it is, and how it is whenever that has changed, until it has ended. */
export async function * followSandbox (
  { sandbox }: OwnedSandbox, { look, onActivity, signal }: FollowOptions
): AsyncGenerator<SandboxDetails> {
  let told = ''
  while (!signal.aborted) {
    const waking = new AbortController()
    const wake = () => waking.abort()
    // Before the look, so that nothing is missed that happens during it.
    const stops = [onActivity(wake), onEnded(sandbox, wake)]
    try {
      const details = await look()
      const json = JSON.stringify(details)
      if (json !== told) yield details
      told = json
      if (details.status !== 'running') return
      await pause(lookAgainMs, AbortSignal.any([signal, waking.signal]))
      await pause(togetherMs, signal)
    } finally {
      for (const stop of stops) stop()
    }
  }
}

async function pause (ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal, ref: false }).catch(() => {})
}
