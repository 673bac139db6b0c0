import { randomUUID } from 'node:crypto'
import type { Bench } from '../bench.js'
import { either, expects, minute, type Fact } from '../fact.js'

/** What a command says in a sandbox of an image with these Dockerfile lines. */
async function built (bench: Bench, lines: string[], script: string): Promise<string> {
  const sandbox = await bench.create({}, bench.image.dockerfileCommands(lines))
  const { out } = await bench.sh(script, { sandbox })
  await bench.end(sandbox)
  return out.trim()
}

/** How images are built, and what they decide in a sandbox. */
export const images: readonly Fact[] = [{
  asked: 'A RUN in its JSON form has a script of several lines',
  expected: 'one two',
  otherwise: 'Claude cannot be installed in images: services/sandboxes/images.ts must write its script in one line.',
  timeoutMs: 10 * minute,
  ask: async (bench) => {
    const run = JSON.stringify(['sh', '-c', 'for word in one two; do\n  echo $word\ndone > /words', 'name', randomUUID()])
    return expects(await built(bench, [`RUN ${run}`], 'echo $(cat /words)'), 'one two')
  }
}, {
  asked: 'An image\'s USER is the user of its sandboxes',
  expected: 'either',
  otherwise: '',
  timeoutMs: 10 * minute,
  ask: async (bench) => either(await built(bench, ['RUN useradd -m somebody', 'USER somebody'], 'id -un; echo $HOME'))
}, {
  asked: 'An image\'s ENTRYPOINT runs',
  expected: 'either',
  otherwise: '',
  timeoutMs: 10 * minute,
  ask: async (bench) => either(await built(bench, [
    `RUN ${JSON.stringify(['sh', '-c', 'printf \'#!/bin/sh\\ntouch /ran\\nexec "$@"\\n\' > /entrypoint && chmod 755 /entrypoint'])}`,
    'ENTRYPOINT ["/entrypoint"]'
  ], 'for look in 1 2 3 4 5 6 7 8 9; do [ -e /ran ] && echo it runs && exit; sleep 0.5; done; echo it does not run'))
}]
