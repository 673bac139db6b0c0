// Compiles the service into dist/ and copies what is read at run time beside it.
// With --if-stale it does nothing when dist/ is newer than every source file.
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const stamp = join(root, 'dist', '.built')
const folders = ['plugins', 'routes', 'schemas', 'services', 'lib', 'emulator', 'doctor', 'static']
const files = ['server.ts', 'app.ts', 'config.ts', 'errors.ts', 'package.json', 'tsconfig.build.json']

const sources = [
  ...files,
  ...folders.filter((folder) => existsSync(join(root, folder))).flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(root.length + 1)))
].filter((file) => existsSync(join(root, file)))

if (process.argv.includes('--if-stale') && existsSync(stamp)) {
  const built = statSync(stamp).mtimeMs
  if (sources.every((file) => statSync(join(root, file)).mtimeMs <= built)) process.exit(0)
}

const started = new Date()
console.log('building dist/ ...')
const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
const { status } = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' })
if (status !== 0) process.exit(status ?? 1)
for (const file of sources.filter((file) => !/\.(ts|json)$/.test(file) || file.startsWith('static/'))) {
  cpSync(join(root, file), join(root, 'dist', file))
}
writeFileSync(stamp, '')
utimesSync(stamp, started, started)
