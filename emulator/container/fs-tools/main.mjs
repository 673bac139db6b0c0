/**
 * The program behind the SDK's `sandbox.filesystem`. The SDK runs it in the sandbox as
 * `/__modal/.bin/modal-sandbox-fs-tools <JSON>`, e.g. `{"Stat":{"path":"/etc"}}`. Results go to stdout; a failure
 * exits 1 with one JSON object on stderr, `{"error_kind", "message", "detail"}`, from which the SDK makes its errors.
 *
 * Its files import nothing but Node's own modules and each other, so that they run wherever they are mounted.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { pipeline } from 'node:stream/promises'
import { handle } from './handle.mjs'
import { watch } from './watch.mjs'

const maxReadBytes = 5 * 1024 ** 3
const chunkBytes = 1024 * 1024

const commonKinds = { ENOENT: 'NotFound', EACCES: 'PermissionDenied', EPERM: 'PermissionDenied', EROFS: 'PermissionDenied' }

/** Each operation's function, and the error kinds particular to it. */
const operations = {
  ListFiles: { run: listFiles, kinds: { ENOTDIR: 'NotDirectory' } },
  Stat: { run: stat, kinds: { ENOTDIR: 'NotDirectory' } },
  ReadFile: { run: readFile, kinds: { ENOTDIR: 'NotFound', EISDIR: 'IsDirectory' } },
  WriteFile: { run: writeFile, kinds: { ENOTDIR: 'NotDirectory', EEXIST: 'AlreadyExists', EISDIR: 'IsDirectory' } },
  MakeDirectory: { run: makeDirectory, kinds: { ENOTDIR: 'NotDirectory', EEXIST: 'PathAlreadyExists' } },
  Remove: { run: remove, kinds: { ENOTDIR: 'NotFound', ENOTEMPTY: 'DirectoryNotEmpty' } },
  Watch: { run: watch, kinds: { ENOTDIR: 'NotFound' } },
  Handle: { run: handle, kinds: {} }
}

class ToolError extends Error {
  constructor (kind, message) {
    super(message)
    this.kind = kind
  }
}

async function main () {
  const [name, options] = Object.entries(JSON.parse(process.argv[2] ?? '{}'))[0] ?? []
  const operation = operations[name]
  if (!operation) return fail('InvalidInput', `Unknown operation: ${name}`)
  try {
    await operation.run(options)
  } catch (error) {
    const kind = error.kind ?? operation.kinds[error.code] ?? commonKinds[error.code] ?? 'Other'
    fail(kind, error.kind ? error.message : describe(error), error.message)
  }
}

function fail (kind, message, detail = '') {
  process.exitCode = 1
  process.stderr.write(`${JSON.stringify({ error_kind: kind, message, detail })}\n`)
}

/** The text of `ENOENT: no such file or directory, open '/x'`, without code and system call. */
function describe (error) {
  const text = /^[A-Z0-9]+: ([^,]+)/.exec(error.message)?.[1] ?? error.message
  return text.charAt(0).toUpperCase() + text.slice(1)
}

function listFiles ({ path: directory }) {
  const names = fs.readdirSync(directory)
  names.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  const entries = names.flatMap((name) => {
    try {
      return [entry(path.join(directory, name))]
    } catch (error) {
      // Removed since the directory was listed.
      if (error.code === 'ENOENT') return []
      throw error
    }
  })
  process.stdout.write(JSON.stringify(entries))
}

function stat (options) {
  process.stdout.write(JSON.stringify(entry(options.path)))
}

function entry (file) {
  const stats = fs.lstatSync(file)
  const type = stats.isSymbolicLink() ? 'symlink' : stats.isDirectory() ? 'directory' : 'file'
  return {
    name: path.basename(file),
    path: file,
    type,
    size: stats.size,
    mode: stats.mode,
    permissions: (stats.mode & 0o7777).toString(8).padStart(4, '0'),
    owner: nameOf('/etc/passwd', stats.uid),
    group: nameOf('/etc/group', stats.gid),
    modified_time: stats.mtimeMs / 1000,
    symlink_target: type === 'symlink' ? fs.readlinkSync(file) : null
  }
}

const tables = new Map()

/** The name of a user or group id, or the number when the table lacks it. */
function nameOf (table, id) {
  if (!tables.has(table)) tables.set(table, readTable(table))
  return tables.get(table).get(String(id)) ?? String(id)
}

function readTable (file) {
  const text = fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : ''
  return new Map(text.split('\n').map((line) => line.split(':')).map(([name, , id]) => [id, name]))
}

async function readFile (options) {
  const handle = await fs.promises.open(options.path, 'r')
  const stats = await handle.stat()
  if (stats.isDirectory()) throw new ToolError('IsDirectory', 'Is a directory')
  if (stats.size > maxReadBytes) throw new ToolError('FileTooLarge', `File is larger than ${maxReadBytes} bytes`)
  await pipeline(handle.createReadStream({ highWaterMark: chunkBytes }), process.stdout, { end: false })
}

/** The file appears complete, once stdin has ended. */
async function writeFile (options) {
  const target = resolveLinks(options.path)
  const old = fs.statSync(target, { throwIfNoEntry: false })
  if (old?.isDirectory()) throw new ToolError('IsDirectory', 'Is a directory')
  const directory = path.dirname(target)
  fs.mkdirSync(directory, { recursive: true })
  const temporary = path.join(directory, `.modal-sandbox-fs-tmp-${randomBytes(8).toString('hex')}`)
  try {
    await pipeline(process.stdin, fs.createWriteStream(temporary, { flags: 'wx', highWaterMark: chunkBytes }))
    if (old) fs.chmodSync(temporary, old.mode & 0o7777)
    fs.renameSync(temporary, target)
  } catch (error) {
    fs.rmSync(temporary, { force: true })
    throw error
  }
}

/** Links are written through, not replaced. */
function resolveLinks (file) {
  try {
    return fs.realpathSync(file)
  } catch {
    return file
  }
}

function makeDirectory (options) {
  fs.mkdirSync(options.path, { recursive: options.parents })
}

function remove (options) {
  if (!fs.lstatSync(options.path).isDirectory()) fs.unlinkSync(options.path)
  else if (options.recursive) fs.rmSync(options.path, { recursive: true })
  else fs.rmdirSync(options.path)
}

main()
