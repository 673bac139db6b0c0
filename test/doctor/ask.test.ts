import t from 'tap'
import { ask, table } from '../../doctor/ask.js'
import type { Bench } from '../../doctor/bench.js'
import { either, expects, type Fact } from '../../doctor/fact.js'

const bench = {} as Bench
const fact = (asking: Fact['ask'], more: Partial<Fact> = {}): Fact =>
  ({ asked: 'A | B', expected: 'yes', otherwise: 'Nothing works.', timeoutMs: 60_000, ask: asking, ...more })

t.test('An error, and no answer in time, are answers that do not hold', async (t) => {
  t.match(await ask(fact(async () => expects('yes', 'yes')), bench), { found: 'yes', holds: true })
  t.match(await ask(fact(async () => expects('no', 'yes')), bench), { found: 'no', holds: false })
  t.match(await ask(fact(async () => either('no')), bench), { holds: true })
  t.match(await ask(fact(async () => { throw new TypeError('no such call') }), bench), { found: 'TypeError: no such call', holds: false })
  const never = () => new Promise<never>(() => {})
  t.match(await ask(fact(never, { timeoutMs: 20 }), bench), { found: 'no answer within 0.02 s', holds: false })
  const stop = new AbortController()
  const asking = ask(fact(never), bench, stop.signal)
  stop.abort()
  t.match(await asking, { found: 'not answered: stopped', holds: false })
})

t.test('The table says what an answer means only where it does not hold, and no text breaks its rows', async (t) => {
  const answers = await Promise.all([fact(async () => either('yes')), fact(async () => expects('two\n lines', 'yes'))].map((one) => ask(one, bench)))
  const rows = table(answers).split('\n').slice(2)
  t.match(rows, [
    /^\| ok \| A \\\| B \| yes \| yes \| {2}\| \d\.\d s \|$/,
    /^\| \*\*no\*\* \| A \\\| B \| yes \| two \/ lines \| Nothing works\. \| \d\.\d s \|$/
  ])
})
