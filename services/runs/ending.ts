import { setTimeout as sleep } from 'node:timers/promises'
import type { ModalClient } from 'modal'
import { AppError } from '../../errors.js'
import { buryRun, stopRun } from './directory.js'
import type { Run } from './run.js'
import { surveyRun } from './survey.js'

/** A stopped run's own record of its end takes no longer. */
const endMs = 5000

/** Ends a run and waits until it is over. @throws {AppError} CLAUDE_FAILED when something of it is still alive. */
export async function endRun (client: ModalClient, run: Run): Promise<void> {
  const clean = await stopRun(run.owned, run.id, 'cancelled')
  if (!clean) throw new AppError('CLAUDE_FAILED', { message: 'Parts of the run are still alive.', step: 'cancel' })
  await seeEnd(client, run)
}

/** Nothing of the run is alive: its runner records the end, or else it is recorded here. */
async function seeEnd (client: ModalClient, run: Run): Promise<void> {
  let buried = false
  for (let until = Date.now() + endMs; run.completion === undefined;) {
    if (!run.isCurrent) {
      const survey = await surveyRun(client, run.owned, run.id)
      if (survey === undefined) return
      run.learn(survey)
    } else {
      await sleep(20)
    }
    if (Date.now() < until) continue
    if (buried) throw new AppError('CLAUDE_FAILED', { message: 'The run has not recorded its end.', step: 'cancel' })
    buried = true
    until = Date.now() + endMs
    await buryRun(run.owned, run.id, 'runner')
  }
}
