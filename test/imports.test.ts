import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = dirname(dirname(fileURLToPath(import.meta.url)))

interface SourceFile { path: string, room: string, text: string, imports: { target: string, typeOnly: boolean }[] }

const sources: SourceFile[] = [
  'server.ts', 'app.ts', 'config.ts', 'errors.ts',
  ...['plugins', 'routes', 'schemas', 'services', 'lib', 'emulator'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => join(folder, file)))
].map((path) => {
  const text = readFileSync(join(root, path), 'utf8')
  return { path, room: roomOf(path), text, imports: importsOf(path, text) }
})

/** The first folder of a path, `services/<folder>` for a service, the file's own name at the top. */
function roomOf (path: string): string {
  const [first, second] = path.split('/')
  return first === 'services' ? `services/${second}` : first!
}

function importsOf (path: string, text: string) {
  const statements = text.matchAll(/(?:^|\n)(import|export)\s+(type\s)?[^'"]*?from\s+'([^']+)'|import\('([^']+)'\)/g)
  return [...statements].map(([, , type, from, dynamic]) => {
    const target = from ?? dynamic!
    return {
      target: target.startsWith('.') ? relative(root, resolve(root, dirname(path), target)).replace(/\.js$/, '.ts') : target,
      typeOnly: type !== undefined
    }
  })
}

/** Which rooms and packages a room may import; types may come from anywhere a service or route needs them. */
const rules: Record<string, RegExp> = {
  'server.ts': /^(app|config)\.ts$/,
  'app.ts': /^(plugins|routes)\/|^(config|errors)\.ts$|^lib\/|^services\/accounts\//,
  'config.ts': /^(lib|schemas)\//,
  'errors.ts': /^$/,
  plugins: /^(plugins|services|lib|emulator|schemas)\/|^(errors|config)\.ts$/,
  routes: /^(schemas|lib)\/|^errors\.ts$|^plugins\/auth\.ts$/,
  schemas: /^schemas\//,
  lib: /^lib\//,
  emulator: /^emulator\//
}

t.test('Every room imports only what the design allows', async (t) => {
  for (const { path, room, imports } of sources) {
    const own = room.startsWith('services/') ? new RegExp(`^(${room}|lib|schemas)/|^errors\\.ts$|^services/`) : rules[room]
    for (const { target, typeOnly } of imports) {
      if (!target.includes('/') || !/^(plugins|routes|schemas|services|lib|emulator|config|errors|app)\b/.test(target)) continue
      if (typeOnly && !target.startsWith('emulator/')) continue
      t.match(target, own, `${path} may import ${target}`)
    }
  }
})

t.test('Services know nothing of Fastify', async (t) => {
  const offenders = sources.filter(({ room, imports }) =>
    room.startsWith('services/') && imports.some(({ target }) => /^(@?fastify)/.test(target)))
  t.strictSame(offenders.map(({ path }) => path), [])
})

t.test('The Modal SDK has one door, and services only use what comes through it', async (t) => {
  const users = sources.filter(({ path, imports }) => path !== 'plugins/modal.ts' &&
    !path.startsWith('services/sandboxes/') && imports.some(({ target, typeOnly }) => target === 'modal' && !typeOnly))
  t.strictSame(users.map(({ path }) => path), [])
})

t.test('S3 has one door', async (t) => {
  const users = sources.filter(({ imports }) => imports.some(({ target }) => /^@(aws-sdk|smithy)\//.test(target)))
  t.strictSame(users.map(({ path }) => path).sort(), ['services/sync/multipart.ts', 'services/sync/object-store.ts', 'services/sync/s3-connection.ts',
    'services/sync/s3-http.ts'])
})

t.test('The emulator is imported in one place, dynamically, and never imports the service', async (t) => {
  const users = sources.filter(({ path, imports }) => !path.startsWith('emulator/') &&
    imports.some(({ target }) => target.startsWith('emulator/')))
  t.strictSame(users.map(({ path }) => path), ['plugins/modal.ts'])
  t.notMatch(sources.find(({ path }) => path === 'plugins/modal.ts')!.text, /^import .*emulator/m)
})

t.test('The environment is read in config.ts only; the standalone emulator has its own door', async (t) => {
  const readers = sources.filter(({ text }) => /process\.(env|loadEnvFile)\b/.test(text)).map(({ path }) => path)
  t.strictSame(readers.filter((path) => !['config.ts', 'emulator/main.ts'].includes(path)), [])
})

t.test('Only lib/sse.ts touches the raw reply', async (t) => {
  const users = sources.filter(({ text }) => /\breply\.raw\b|\bthis\.raw\b/.test(text)).map(({ path }) => path)
  t.strictSame(users, ['lib/sse.ts'])
})

t.test('Versions that must not move by themselves are pinned', async (t) => {
  const { dependencies, optionalDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  t.equal(dependencies.modal, '0.11.1')
  for (const version of Object.values<string>(optionalDependencies)) t.match(version, /^\d+\.\d+\.\d+$/)
})
