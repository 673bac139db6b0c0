import { readFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import t from 'tap'
import { circlesOf, importsOf, longestChain, readModules, roomOf } from '../scripts/modules.js'

const modules = readModules()
const pathsOf = (found: { path: string }[]) => found.map(({ path }) => path)

interface Rule { may: RegExp, types?: RegExp }

const common = 'errors\\.ts$|lib/|schemas/|services/modal/'
/** What one service needs of another it is given by the plugin that constructs both: it imports types of it at most. */
const service: Rule = { may: new RegExp(`^(${common})`), types: /^services\/[^/]+\/[^/]+$/ }
const layer = (below: string): Rule =>
  ({ may: new RegExp(`^(${common}${below})`), types: /^services\/(?!sync\/)[^/]+\/[^/]+$/ })

/** What a room may import besides its own files and packages. The layers of the sync keep their order in types, too. */
const rules: Record<string, Rule> = {
  'server.ts': { may: /^(app|config)\.ts$|^lib\// },
  'app.ts': { may: /^(plugins|routes|lib|services\/accounts)\/|^(config|errors)\.ts$/, types: /^services\// },
  'config.ts': { may: /^(lib|schemas)\// },
  'errors.ts': { may: /^$/ },
  plugins: { may: /^(services|lib|schemas|emulator)\/|^(errors|config)\.ts$/ },
  routes: { may: /^(schemas|lib)\/|^errors\.ts$|^plugins\/auth\.ts$/, types: /^(services|plugins)\// },
  schemas: { may: /^$/, types: /^errors\.ts$/ },
  lib: { may: /^$/ },
  // How a process starts and ends.
  emulator: { may: /^lib\/(closing|start-problem)\.ts$/ },
  // It asks Modal what the service takes for granted, by the service's own means.
  doctor: { may: /^(config\.ts$|lib\/|plugins\/modal\.ts$|services\/(modal|sandboxes)\/)/ },
  static: { may: /^static\// },
  // It goes where the service is not.
  clients: { may: /^$/ },
  'services/modal': { may: /^(errors\.ts$|lib\/)/, types: /^schemas\// },
  'services/sync': { ...service, may: new RegExp(`^(${common}|services/sync/(transfer|workspace|s3)/)`) },
  'services/sync/transfer': layer('|services/sync/(workspace|s3)/'),
  'services/sync/workspace': layer(''),
  'services/sync/s3': layer(''),
  // A program of the sandbox.
  'services/sync/transfer/agent': { may: /^$/ }
}

const ruleOf = (room: string) => rules[room] ?? (/^services\/[^/]+$/.test(room) ? service : undefined)

t.test('Every room imports only what the design allows', async (t) => {
  const known = new Set(pathsOf(modules))
  for (const { path, room, imports } of modules) {
    const rule = ruleOf(room)
    if (rule === undefined) t.fail(`${path} is in a room without rules`)
    for (const { target, typeOnly } of rule === undefined ? [] : imports) {
      if (!known.has(target) && !/^(test|bench|scripts)\//.test(target)) continue
      if (roomOf(target) === room) continue
      t.ok(rule!.may.test(target) || (typeOnly && rule!.types?.test(target)), `${path} may import ${target}`)
    }
  }
})

t.test('No file imports itself by way of others, not even its types', async (t) => {
  const circles = circlesOf(modules)
  t.strictSame(circles, [])
})

t.test('Services know nothing of Fastify', async (t) => {
  t.strictSame(pathsOf(modules.filter(({ room, imports }) =>
    room.startsWith('services/') && imports.some(({ target }) => /^@?fastify/.test(target)))), [])
})

t.test('The Modal SDK has one door, and one place for what it keeps private', async (t) => {
  const others = modules.filter(({ path }) => !/^(services\/modal|emulator|static)\//.test(path))
  t.strictSame(pathsOf(others.filter(({ path, imports }) => path !== 'plugins/modal.ts' &&
    imports.some(({ target, typeOnly }) => target === 'modal' && !typeOnly))), [])
  t.strictSame(pathsOf(others.filter(({ text }) => /\._[a-z]\w*/i.test(text))), [])
})

t.test('S3 has one door', async (t) => {
  t.strictSame(pathsOf(modules.filter(({ room, imports }) => room !== 'services/sync/s3' &&
    imports.some(({ target }) => /^@(aws-sdk|smithy)\//.test(target)))), [])
})

t.test('The emulator is imported in one place, dynamically, and never imports the service', async (t) => {
  const users = modules.filter(({ room, imports }) => room !== 'emulator' &&
    imports.some(({ target }) => target.startsWith('emulator/')))
  t.strictSame(pathsOf(users), ['plugins/modal.ts'])
  t.notMatch(users[0]!.text, /^import .*emulator/m)
})

t.test('What runs in a sandbox stands alone', async (t) => {
  for (const { path, imports } of modules.filter(({ path }) => path.endsWith('.cjs'))) {
    for (const { target } of imports) t.ok(isBuiltin(target) || target.endsWith('.cjs'), `${path} may use ${target}`)
  }
})

t.test('The environment is read in config.ts only; the standalone emulator and programs of others have their own door', async (t) => {
  const readers = pathsOf(modules.filter(({ text }) => /process\.(env|loadEnvFile)\b/.test(text)))
  t.strictSame(readers.filter((path) => !/^(config\.ts|emulator\/main\.ts|clients\/typescript\/examples\/)/.test(path)), [])
})

t.test('Only lib/sse.ts touches the raw reply', async (t) => {
  t.strictSame(pathsOf(modules.filter(({ text }) => /\breply\.raw\b|\bthis\.raw\b/.test(text))), ['lib/sse.ts'])
})

t.test('Versions that must not move by themselves are pinned', async (t) => {
  const file = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
  const { dependencies, optionalDependencies } = JSON.parse(file)
  t.equal(dependencies.modal, '0.11.1')
  for (const version of Object.values<string>(optionalDependencies)) t.match(version, /^\d+\.\d+\.\d+$/)
})

t.test('Imports are read whole: of types, side effects, exports, types in place, dynamic and CommonJS', async (t) => {
  t.strictSame(importsOf('lib/x.ts', `
    import type { A } from './json.js'
    import { type B } from './ids.js'
    import './sse.js'
    export * from '../errors.js'
    export type { C } from '../config.js'
    type D = import('pino').Logger
    const e = await import('../emulator/index.js')
    const f = require('node:fs')
    // import './comment.js'
  `).map(({ target, typeOnly }) => `${typeOnly ? 'type ' : ''}${target}`), [
    'type lib/json.ts', 'lib/ids.ts', 'lib/sse.ts', 'errors.ts', 'type config.ts', 'type pino', 'emulator/index.ts', 'node:fs'
  ])
})

t.test('Circles and chains are found', async (t) => {
  const graph = (edges: Record<string, string>) => Object.entries(edges).map(([path, targets]) =>
    ({ path, imports: [...targets].map((target) => ({ target, typeOnly: false })) }))
  t.strictSame(circlesOf(graph({ a: 'bc', b: 'c', c: '' })), [])
  t.strictSame(circlesOf(graph({ a: 'b', b: 'c', c: 'bd', d: 'e', e: 'd' })).sort(), [['b', 'c'], ['d', 'e']])
  t.strictSame(longestChain(graph({ a: 'bc', b: 'c', c: 'd', d: '' })), ['a', 'b', 'c', 'd'])
  t.equal(longestChain(graph({ a: 'b', b: 'c', c: 'bd', d: '' })).length, 3)
})
