import t from 'tap'
import { readPages, type PageEnds } from '../../../services/modal/pages.js'

const pageSize = 3

/** A server with rows that come and go, and a client that counts how often it has to wait for it. */
function openList (times: number[]) {
  const ends: PageEnds = new Map()
  const list = { times, asked: [] as Array<number | undefined>, waits: 0 }
  let together = false
  const ask = async (before = Infinity) => {
    list.asked.push(before === Infinity ? undefined : before)
    if (!together) list.waits++
    together = true
    await new Promise((resolve) => setImmediate(resolve))
    together = false
    return list.times.filter((time) => time < before).sort((one, other) => other - one).slice(0, pageSize)
      .map((createdAt) => ({ createdAt }))
  }
  async function read (most = Infinity): Promise<number[]> {
    Object.assign(list, { asked: [], waits: 0 })
    const found: number[] = []
    for await (const { createdAt } of readPages(ends, 'list', ask)) {
      if (found.push(createdAt) >= most) break
    }
    return found
  }
  return { list, read }
}

const newestFirst = (times: number[]) => times.toSorted((one, other) => other - one)
const some = (count: number, from = 1) => Array.from({ length: count }, (_, index) => from + index)

t.test('The first time, pages are asked for one after the other; then all of them together', async (t) => {
  const { list, read } = openList(some(8))
  t.same(await read(), newestFirst(some(8)))
  t.same(list.asked, [undefined, 6, 3, 1])
  t.equal(list.waits, 4)
  t.same(await read(), newestFirst(some(8)))
  t.same(list.asked, [undefined, 6, 3, 1])
  t.equal(list.waits, 1)
})

t.test('An empty list is one page', async (t) => {
  const { list, read } = openList([])
  t.same(await read(), [])
  t.same(await read(), [])
  t.same(list.asked, [undefined])
})

t.test('Whatever has come and gone, the list is what it is, each entry once, in order', async (t) => {
  for (let seed = 1; seed <= 300; seed++) {
    let state = seed
    const random = (below: number) => (state = state * 48271 % 2147483647) % below
    const { list, read } = openList(some(random(20)))
    let next = 100
    for (let round = 0; round < 6; round++) {
      t.same(await read(), newestFirst(list.times), `seed ${seed}, round ${round}`)
      list.times = [...list.times.filter(() => random(4) > 0), ...some(random(9), next)]
      next += 10
    }
  }
})

t.test('What is new costs one wait more, as long as it fits a page', async (t) => {
  const { list, read } = openList(some(9))
  await read()
  list.times = [...some(9), 20, 21]
  t.same(await read(), [21, 20, ...newestFirst(some(9))])
  t.equal(list.waits, 2)
})

t.test('Whoever leaves early asks for no more, and has nothing remembered', async (t) => {
  const { list, read } = openList(some(9))
  t.same(await read(2), [9, 8])
  t.same(list.asked, [undefined])
  await read()
  t.same(list.asked, [undefined, 7, 4, 1])
})

t.test('A server that does not mind the time ends the list, as it brings nothing new', async (t) => {
  const rows = readPages(new Map(), 'list', async () => [{ createdAt: 2 }, { createdAt: 1 }])
  const found: number[] = []
  for await (const { createdAt } of rows) found.push(createdAt)
  t.same(found, [2, 1])
})

t.test('A page that fails fails the list, and nothing else', async (t) => {
  const ends: PageEnds = new Map([['list', [5]]])
  const ask = async (before?: number) => {
    if (before === 5) throw new Error('away')
    return [{ createdAt: 7 }, { createdAt: 5 }]
  }
  const rows = readPages(ends, 'list', ask)
  t.match(await rows.next(), { value: { createdAt: 7 } })
  await rows.return(undefined)
  await t.rejects(async () => { for await (const row of readPages(ends, 'list', ask)) t.ok(row) }, { message: 'away' })
})
