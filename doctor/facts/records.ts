import { randomBytes, randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { listRunning, listRunningOfAll } from '../../services/modal/lists.js'
import { listVolumes } from '../../services/modal/volumes.js'
import { encodeTags, searchTags } from '../../services/sandboxes/tags.js'
import type { Bench } from '../bench.js'
import { either, expects, minute, second, type Fact } from '../fact.js'

/** The longest record that a request can make. */
function record (name: string) {
  return {
    owner: `acct-${'a'.repeat(26)}`,
    deployment: name,
    preparing: new Date().toISOString(),
    createdAt: new Date().toISOString(),
    expiresAt: new Date().toISOString(),
    image: 'registry.example/team/image_name:tag@sha256:'.padEnd(200, 'f'),
    workdir: '/work space/ü',
    request: randomUUID(),
    tags: { empty: '', long: 'x'.repeat(100) }
  }
}

async function idsOf (bench: Bench, params: { appId: string, tags: Record<string, string> }): Promise<string[]> {
  const found = []
  for await (const { sandboxId } of bench.client.sandboxes.list(params)) found.push(sandboxId)
  return found
}

/** Waits until it is so: a list may be late. */
async function soon (isSo: () => Promise<boolean>): Promise<boolean> {
  for (const end = Date.now() + 30 * second; Date.now() < end;) {
    if (await isSo()) return true
    await sleep(500)
  }
  return false
}

/** How the service remembers: sandboxes, their tags, lists and queues. */
export const records: readonly Fact[] = [{
  asked: 'A sandbox with a volume is created, and runs a command',
  expected: 'up',
  otherwise: 'Nothing works: check the token, the workspace\'s limits and Modal\'s status.',
  isCheap: true,
  timeoutMs: 5 * minute,
  ask: async (bench) => expects((await bench.sh('echo up')).out.trim(), 'up')
}, {
  asked: 'Tags are kept as they were set, and a list finds a sandbox by them',
  expected: 'kept and found',
  otherwise: 'The service cannot tell whose a sandbox is: services/sandboxes/tags.ts must use fewer or shorter tags.',
  isCheap: true,
  timeoutMs: minute,
  ask: async (bench) => {
    const box = await bench.box()
    const tags = encodeTags(record(bench.name))
    await box.setTags(tags)
    const kept = isDeepStrictEqual(await box.getTags(), tags)
    const found = await soon(async () => (await idsOf(bench, { appId: bench.app.appId, tags })).includes(box.sandboxId))
    return expects(`${kept ? 'kept' : 'changed'} and ${found ? 'found' : 'not found'}`, 'kept and found')
  }
}, {
  asked: 'A list names the tags of its sandboxes',
  expected: 'named',
  otherwise: 'Lists are not usable.',
  isCheap: true,
  timeoutMs: minute,
  ask: async (bench) => {
    const { sandboxId } = await bench.box()
    if (!await soon(async () => (await idsOf(bench, { appId: bench.app.appId, tags: {} })).includes(sandboxId))) {
      return { found: 'the list does not have the sandbox', holds: false }
    }
    for await (const { sandbox, tags } of listRunning(bench.client, { appId: bench.app.appId })) {
      if (sandbox.sandboxId === sandboxId) return either(tags === undefined ? 'left out: a call for each' : 'named')
    }
    return { found: 'the list does not have the sandbox any more', holds: false }
  }
}, {
  asked: 'Sandboxes of all apps are found by their tags',
  expected: 'found',
  otherwise: 'The reaper finds no overdue sandboxes: they run until Modal\'s own timeout.',
  isCheap: true,
  timeoutMs: minute,
  ask: async (bench) => {
    const box = await bench.box()
    const tags = searchTags({ deployment: randomUUID() })
    await box.setTags(tags)
    const found = await soon(async () => {
      for await (const { sandbox } of listRunningOfAll(bench.client, tags)) {
        if (sandbox.sandboxId === box.sandboxId) return true
      }
      return false
    })
    return expects(found ? 'found' : 'not found', 'found')
  }
}, {
  asked: 'Items of a queue are counted, and can be read without being taken',
  expected: '2, then 1,2',
  otherwise: 'Signed-out sessions and asynchronous creates are unknown to other replicas.',
  isCheap: true,
  timeoutMs: minute,
  ask: async (bench) => {
    const queue = await bench.client.queues.fromName(bench.name, { createIfMissing: true })
    await queue.putMany(['1', '2'], { partition: 'p', partitionTtlMs: minute })
    const items = []
    for await (const item of queue.iterate({ partition: 'p' })) items.push(item)
    return expects(`${await queue.len({ partition: 'p' })}, then ${items.join()}`, '2, then 1,2')
  }
}, {
  asked: 'The list of volumes has all names',
  expected: 'listed once',
  otherwise: 'Accounts cannot see their volumes, and no limit on their number holds.',
  isCheap: true,
  timeoutMs: minute,
  ask: async (bench) => {
    let times = 0
    for await (const { name } of listVolumes(bench.client)) if (name === bench.name) times++
    return expects(times === 1 ? 'listed once' : `listed ${times} times`, 'listed once')
  }
}, {
  asked: 'A list has a new sandbox at once',
  expected: 'at once, or within seconds',
  otherwise: 'Two creates at a time may pass an account\'s limit by more than the service expects.',
  timeoutMs: 3 * minute,
  ask: async (bench) => {
    const tags = { question: randomUUID() }
    const sandbox = await bench.create({ tags })
    const since = Date.now()
    while ((await idsOf(bench, { appId: bench.app.appId, tags })).length === 0) {
      if (Date.now() - since > 30 * second) return { found: 'not within 30 s', holds: false }
      await sleep(250)
    }
    const seconds = (Date.now() - since) / 1000
    await bench.end(sandbox)
    return either(seconds < 1 ? 'at once' : `after ${seconds.toFixed(1)} s`)
  }
}, {
  asked: 'How many tags a sandbox can have',
  expected: '8 or more',
  otherwise: 'services/sandboxes/tags.ts must use fewer.',
  timeoutMs: 2 * minute,
  ask: async (bench) => {
    const box = await bench.box()
    const sizes = [8, 10, 16, 32, 64]
    let accepted = 0
    for (const size of sizes) {
      const tags = Object.fromEntries(Array.from({ length: size }, (_, index) => [`tag-${index}`, 'x'.repeat(256)]))
      if (!await box.setTags(tags).then(() => true, () => false)) break
      accepted = size
    }
    return { found: accepted === sizes.at(-1) ? `${accepted} of 256 characters, or more` : `${accepted} of 256 characters`, holds: accepted >= 8 }
  }
}, {
  asked: 'A name is free again once its sandbox has ended, and finds it still',
  expected: 'found, then taken anew',
  otherwise: 'A repeated create may create a second sandbox.',
  timeoutMs: 3 * minute,
  ask: async (bench) => {
    const name = `auto.${randomBytes(10).toString('hex')}`
    const first = await bench.create({ name })
    await bench.end(first)
    const found = await bench.client.sandboxes.fromName(bench.app.name!, name, { includeTerminated: true }).then(
      ({ sandboxId }) => sandboxId === first.sandboxId, () => false)
    await bench.end(await bench.create({ name }))
    return expects(`${found ? 'found' : 'not found'}, then taken anew`, 'found, then taken anew')
  }
}]
