import t from 'tap'
import { sameTime } from '../../../services/sync/manifest.js'

t.test('Times are the same as far as both are told', async (t) => {
  for (const [one, other] of [['1', '1'], ['1.5', '1'], ['1.500000000', '1.5'], ['1.123456789', '1.123456000']]) {
    t.ok(sameTime(one!, other!), `${one} ${other}`)
  }
  for (const [one, other] of [['1', '2'], ['1.5', '1.6'], ['1.9', '2']]) t.notOk(sameTime(one!, other!), `${one} ${other}`)
})
