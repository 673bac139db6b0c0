// `npm run doctor`: asks Modal the cheapest of what the service takes for granted, before an operator goes live.
// `npm run doctor -- --all` asks everything. Exits 1 when something is not as the service needs it.
import { loadModalConfig } from '../config.js'
import { StartProblem } from '../lib/start-problem.js'
import { connect } from '../plugins/modal.js'
import { withDeadline } from '../services/modal/call.js'
import { ask, table, type Asked } from './ask.js'
import { Bench } from './bench.js'
import { minute, type Fact } from './fact.js'
import { facts } from './facts/index.js'

const quiet = { debug () {}, info () {}, warn () {}, error () {} }

try {
  // A fact that nobody waits for any more may keep the process alive.
  process.exit(await examine(process.argv.includes('--all')))
} catch (error) {
  if (!(error instanceof StartProblem)) throw error
  console.error(error.message)
  process.exit(1)
}

async function examine (all: boolean): Promise<number> {
  const { modal, image = 'node:22-slim' } = loadModalConfig()
  const client = connect(modal, quiet)
  const stop = new AbortController()
  // The second one ends the process.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort())
  try {
    const bench = await withDeadline(minute, () => Bench.open(client, image)).catch((cause: Error) => {
      throw new StartProblem(`Modal refused an app or a volume: ${cause.message}`, { cause })
    })
    const answers = await askAll(facts.filter(({ isCheap }) => all || isCheap), bench, stop.signal)
    const left = await withDeadline(2 * minute, () => bench.close()).catch((error: Error) => [`all of it (${error.message})`])
    const wrong = answers.filter(({ holds }) => !holds).length
    console.log(`\n${answers.length} asked, ${wrong} not as needed; about $${bench.costUsd.toFixed(4)}.`)
    console.log(left.length === 0 ? 'All sandboxes have ended, the volume is deleted.' : `Not removed: ${left.join(', ')}`)
    return wrong > 0 || left.length > 0 || stop.signal.aborted ? 1 : 0
  } finally {
    client.close()
  }
}

/** Prints each answer as it comes, and the table of all in the end. */
async function askAll (chosen: Fact[], bench: Bench, stop: AbortSignal): Promise<Asked[]> {
  const answers: Asked[] = []
  for (const [index, fact] of chosen.entries()) {
    if (stop.aborted) break
    const answer = await ask(fact, bench, stop)
    answers.push(answer)
    console.error(`${index + 1}/${chosen.length} ${answer.holds ? 'ok' : 'NO'}: ${fact.asked}: ${answer.found}`)
  }
  console.log(table(answers))
  return answers
}
