import t from 'tap'
import { pageEnds } from '../../../../services/sync/manifest-store.js'
import { listInRanges } from '../../../../services/sync/s3/list-ranges.js'
import { ObjectStore } from '../../../../services/sync/s3/object-store.js'
import { noS3 } from '../../../helpers/s3.js'
import { openSyncStage } from '../../../helpers/sync-stage.js'

t.test('Many objects are listed side by side: each once, in order, whatever was expected to be there', { skip: noS3 }, async (t) => {
  const { storeAt } = await openSyncStage(t)
  const open = (Store = ObjectStore) => storeAt('list/', { Store })
  const odd = ['\uffee', '😀', 'a b', 'a+b', 'a%2Fb', 'line\nbreak', 'quote"\'\\', 'x', 'x/', 'x/y', 'ünï#?&']
  const keys = [...odd, ...Array.from({ length: 2300 }, (_, n) => `many/${n * 7}-${odd[n % 3]}`)]
  const put = (store: ObjectStore, some: string[]) =>
    Promise.all(some.map(async (key) => await store.put(key, Buffer.alloc(0)))).then(() => {})
  const list = async (store: ObjectStore, expected: string[]) => {
    const found: string[] = []
    const pages = listInRanges(store, Promise.resolve(pageEnds(expected)))
    for await (const page of pages) found.push(...page.map(({ key }) => key))
    return found
  }
  const inOrder = (some: string[]) =>
    some.toSorted((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)))
  const store = open()
  await put(store, keys)
  let begins = 0
  class Counting extends ObjectStore {
    override async * list (start?: string, after?: string) {
      if (after !== undefined) begins++
      yield * super.list(start, after)
    }
  }
  t.strictSame(await list(open(Counting), keys), inOrder(keys))
  t.equal(begins, 2, 'the pages after the first one begin by themselves')
  const liar = listInRanges(open(Counting), Promise.resolve(Array.from({ length: 3000 }, (_, n) => `y${n}`)))
  let pages = 0
  for await (const page of liar) pages += Math.sign(page.length)
  t.ok(begins < 1010, 'a manifest can cause only so many requests')
  t.equal(pages, 3)
  const removed = keys.filter((_key, index) => index % 5 === 0)
  t.equal((await store.delete(removed)).length, 0)
  const added = Array.from({ length: 1500 }, (_, n) => `more/${n}`)
  await put(store, added)
  const broken = Array.from({ length: 3000 }, (_, n) => n % 2 === 0 ? `z\ud800${n}` : `z\u0001${n}`)
  const now = inOrder([...keys.filter((key) => !removed.includes(key)), ...added])
  for (const [what, expected] of Object.entries({ all: keys, nothing: [], 'what is no more': removed, others: added, odd: broken })) {
    t.strictSame(await list(store, expected), now, `while ${what} is expected`)
  }
  class Ignoring extends ObjectStore {
    override async * list (start?: string) { yield * super.list(start) }
  }
  t.strictSame(await list(open(Ignoring), keys), now, 'from a server that always begins at the beginning')
})
