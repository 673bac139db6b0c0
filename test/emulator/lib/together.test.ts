import t from 'tap'
import { together } from '../../../emulator/lib/together.js'

/** Looks that end when they are told to. */
function looks () {
  const ends: Array<(answer: string) => void> = []
  const fails: Array<(error: Error) => void> = []
  const look = together(async () => await new Promise<string>((resolve, reject) => {
    ends.push(resolve)
    fails.push(reject)
  }))
  const turn = async () => { await new Promise(setImmediate) }
  return { look, ends, fails, turn }
}

t.test('Who asks while an answer is under way shares the next one with all others', async (t) => {
  const { look, ends, turn } = looks()
  const first = look()
  const others = [look(), look(), look()]
  await turn()
  t.equal(ends.length, 1)
  ends[0]!('old')
  t.equal(await first, 'old')
  await turn()
  t.equal(ends.length, 2)
  const late = look()
  ends[1]!('new')
  t.same(await Promise.all(others), ['new', 'new', 'new'])
  await turn()
  t.equal(ends.length, 3, 'one who asks after it has begun gets a newer one')
  ends[2]!('newest')
  t.equal(await late, 'newest')
  const alone = look()
  t.equal(ends.length, 4)
  ends[3]!('alone')
  t.equal(await alone, 'alone')
})

t.test('A failure is that of those who asked, and nobody else waits for it', async (t) => {
  const { look, ends, fails, turn } = looks()
  const first = look()
  const second = look()
  fails[0]!(new Error('broken'))
  await t.rejects(first, { message: 'broken' })
  await turn()
  ends[1]!('fine')
  t.equal(await second, 'fine')
})
