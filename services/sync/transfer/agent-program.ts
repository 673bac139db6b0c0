import { readFileSync } from 'node:fs'

/** In the order in which they need each other. */
const modules = ['files', 'http', 'read', 'write', 'main'].map((name) => `./${name}.cjs`)

/** What a mover runs in a sandbox, as one text for `node -e`; Node 16 and later can run it. */
export const program = `
const loaded = {}
const load = (name) => loaded[name] ?? require(name)
const add = (name, define) => {
  const module = {}
  define(module, load)
  loaded[name] = module.exports
}
${modules.map((name) => `add('${name}', (module, require) => {\n${read(name)}})`).join('\n')}`

function read (name: string): string {
  return readFileSync(new URL(`agent/${name.slice(2)}`, import.meta.url), 'utf8')
}
