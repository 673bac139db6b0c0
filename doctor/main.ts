// `npm run doctor`: asks Modal the cheapest of what the service takes for granted, before an operator goes live.
// `npm run doctor -- --all` asks everything. Exits 1 when something is not as the service needs it.
import { loadModalConfig } from '../config.js'
import { StartProblem } from '../lib/start-problem.js'
import { connect } from '../plugins/modal.js'
import { ask, table, type Asked } from './ask.js'
import { Bench } from './bench.js'
import { facts } from './facts/index.js'

const quiet = { debug () {}, info () {}, warn () {}, error () {} }

try {
  process.exitCode = await examine(process.argv.includes('--all'))
} catch (error) {
  if (!(error instanceof StartProblem)) throw error
  console.error(error.message)
  process.exitCode = 1
}

async function examine (all: boolean): Promise<number> {
  const { modal, image = 'node:22-slim' } = loadModalConfig()
  const client = connect(modal, quiet)
  const chosen = facts.filter(({ isCheap }) => all || isCheap)
  const answers: Asked[] = []
  let bench: Bench | undefined
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort())
  try {
    bench = await Bench.open(client, image)
    for (const [index, fact] of chosen.entries()) {
      if (stop.signal.aborted) break
      const answer = await ask(fact, bench, stop.signal)
      answers.push(answer)
      console.error(`${index + 1}/${chosen.length} ${answer.holds ? 'ok' : 'NO'}: ${fact.asked}: ${answer.found}`)
    }
  } catch (cause) {
    throw new StartProblem(`Modal refused an app or a volume: ${(cause as Error).message}`, { cause })
  } finally {
    await bench?.close()
    client.close()
  }
  console.log(table(answers))
  const wrong = answers.filter(({ holds }) => !holds).length
  console.log(`\n${answers.length} asked, ${wrong} not as needed; about $${bench.costUsd.toFixed(4)}. All sandboxes have ended, the volume is deleted.`)
  return wrong > 0 || stop.signal.aborted ? 1 : 0
}
