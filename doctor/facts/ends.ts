import { setTimeout as sleep } from 'node:timers/promises'
import { endingOf } from '../../services/modal/ending.js'
import { either, expects, minute, second, type Fact } from '../fact.js'

const day = 24 * 60 * minute

/** How sandboxes end, and what is known of one that has ended. */
export const ends: readonly Fact[] = [{
  asked: 'A terminated sandbox has exit code 137, and one whose time is over 124',
  expected: '137, 124',
  otherwise: 'Sandboxes that ended as they should are shown as failed.',
  timeoutMs: 3 * minute,
  ask: async (bench) => {
    const [ended, late] = await Promise.all([bench.create(), bench.create({ timeoutMs: 5 * second })])
    await ended.terminate({ wait: true })
    const codes = [await ended.poll(), await late.wait()]
    await Promise.all([bench.end(ended), bench.end(late)])
    return expects(codes.join(', '), '137, 124')
  }
}, {
  asked: 'Looking at a sandbox does not keep it from being idle, and Modal says that it was',
  expected: 'idle_timeout',
  otherwise: 'A page that is left open keeps its sandbox running, and paid for.',
  timeoutMs: 3 * minute,
  ask: async (bench) => {
    const idle = await bench.create({ idleTimeoutMs: 10 * second })
    for (const end = Date.now() + minute; Date.now() < end;) {
      await idle.getTags()
      if (await idle.poll() !== null) break
      await sleep(second)
    }
    const ending = await endingOf(idle)
    await bench.end(idle)
    return expects(ending === null ? 'it still runs after a minute' : ending.reason ?? `exit code ${ending.exitCode}`, 'idle_timeout')
  }
}, {
  asked: 'An ended sandbox is known for a minute: its tags, its exit code',
  expected: 'known',
  otherwise: 'What a sandbox was, and why it ended, is unknown soon after its end.',
  timeoutMs: 4 * minute,
  ask: async (bench) => {
    const sandbox = await bench.create({ tags: { known: 'yes' } })
    await bench.end(sandbox)
    await sleep(minute)
    const { known } = await sandbox.getTags().catch(() => ({ known: undefined }))
    return expects(known === 'yes' && await sandbox.poll() === 137 ? 'known' : 'forgotten', 'known')
  }
}, {
  asked: 'An exec in an ended sandbox is refused',
  expected: 'refused',
  otherwise: 'A command in a sandbox that has ended waits for its deadline.',
  timeoutMs: 2 * minute,
  ask: async (bench) => {
    const sandbox = await bench.create()
    await bench.end(sandbox)
    return expects(await sandbox.exec(['true']).then(() => 'accepted', () => 'refused'), 'refused')
  }
}, {
  asked: 'CPU and memory have hard limits',
  expected: 'accepted',
  otherwise: 'A sandbox can use, and cost, more than its account may.',
  timeoutMs: 2 * minute,
  ask: async (bench) => {
    const limited = await bench.create({ cpu: 0.5, cpuLimit: 1, memoryMiB: 256, memoryLimitMiB: 512 })
    const { code } = await bench.sh('true', { sandbox: limited })
    await bench.end(limited)
    return expects(code === 0 ? 'accepted' : `exit code ${code}`, 'accepted')
  }
}, {
  asked: 'An exec may have a timeout of more than a day',
  expected: 'either: the service never asks for more',
  otherwise: '',
  timeoutMs: minute,
  ask: async (bench) => {
    const start = (await bench.box()).exec(['true'], { timeoutMs: day + minute })
    return either(await start.then(async (process) => `exit code ${await process.wait()}`, (error: Error) => error.message))
  }
}]
