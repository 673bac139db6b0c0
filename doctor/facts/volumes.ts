import type { Bench } from '../bench.js'
import { minute, expects, either, type Fact } from '../fact.js'

const tries = `cd /workspace
try () { if "$@" 2>/dev/null; then echo yes; else echo no; fi; }
echo x > f
echo "FIFO $(try mkfifo fifo), hard link $(try ln f hard), symbolic link $(try ln -s f soft), lock $(try flock -n f true),\
 owner $(try chown 1234 f), append $(try sh -c 'echo y >> f'), rename over $(try sh -c 'echo z > g && mv g f')"`

/** What a script says in a sandbox of its own on the volume. */
async function inNext (bench: Bench, script: string): Promise<string> {
  const sandbox = await bench.create({ volumes: { '/workspace': bench.volume } })
  const { out } = await bench.sh(script, { sandbox })
  await bench.end(sandbox)
  return out.trim()
}

/** What a volume keeps. */
export const volumes: readonly Fact[] = [{
  asked: 'What a sandbox wrote to a volume is there for the next one after its end',
  expected: 'kept 741',
  otherwise: 'Work is lost between sandboxes that have no S3.',
  timeoutMs: 4 * minute,
  ask: async (bench) => {
    await inNext(bench, 'mkdir -p /workspace/d && echo kept > /workspace/d/f && chmod 741 /workspace/d/f')
    const out = await inNext(bench, 'cat /workspace/d/f; stat -c %a /workspace/d/f')
    return expects(out.split('\n').join(' '), 'kept 741')
  }
}, {
  asked: 'Times of files on a volume have fractions of a second, after its next mount, too',
  expected: 'either',
  otherwise: '',
  timeoutMs: 4 * minute,
  ask: async (bench) => {
    const before = await inNext(bench, 'touch -d "2020-01-01 00:00:00.123456789" /workspace/t; stat -c %y /workspace/t')
    return either(`${before}, then ${await inNext(bench, 'stat -c %y /workspace/t')}`)
  }
}, {
  asked: 'What a volume can do',
  expected: 'symbolic link yes, append yes, rename over yes',
  otherwise: 'Conversations and logs of runs, which are on the volume, cannot be written.',
  timeoutMs: minute,
  ask: async (bench) => {
    const found = (await bench.sh(tries)).out.trim()
    return { found, holds: /symbolic link yes.*append yes, rename over yes/.test(found) }
  }
}]
