// Blanks out the types of a file, so that each character stays at its place: errors and coverage need no source map.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const cache = fileURLToPath(new URL('../.tap/stripped/', import.meta.url))
const { version } = createRequire(import.meta.url)('ts-blank-space/package.json')

/** `./x.js` in a TypeScript file means `./x.ts`, if there is one. */
export async function resolve (specifier, context, next) {
  if (specifier.startsWith('.') && specifier.endsWith('.js') && context.parentURL?.endsWith('.ts')) {
    const typed = new URL(`${specifier.slice(0, -2)}ts`, context.parentURL)
    if (existsSync(typed)) return await next(typed.href, context)
  }
  return await next(specifier, context)
}

export async function load (url, context, next) {
  if (!url.startsWith('file:') || !url.endsWith('.ts')) return await next(url, context)
  const { source } = await next(url, { ...context, format: 'module' })
  return { format: 'module', source: await strip(source.toString()), shortCircuit: true }
}

/** Kept by what it was made from: loading the compiler takes longer than loading all that a test needs. */
async function strip (source) {
  const file = `${cache}${createHash('sha256').update(version).update(source).digest('hex')}.js`
  try {
    return readFileSync(file, 'utf8')
  } catch {}
  const { default: blank } = await import('ts-blank-space')
  const stripped = blank(source, ({ pos }) => { throw new SyntaxError(`more than types at ${source.slice(pos, pos + 80)}`) })
  try {
    mkdirSync(cache, { recursive: true })
    writeFileSync(`${file}.${process.pid}`, stripped)
    renameSync(`${file}.${process.pid}`, file)
  } catch {
    // Another user's tests: what they read they strip again.
  }
  return stripped
}
