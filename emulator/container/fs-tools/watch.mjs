import { spawn } from 'node:child_process'
import fs from 'node:fs'
import { getSystemErrorName } from 'node:util'

const directory = '/__modal/rt'
const perl = [`${directory}/ld.so`, '--library-path', `${directory}/lib`, `${directory}/perl`, `${directory}/fs-tools/inotify.pl`]

/** inotify_init1, inotify_add_watch and inotify_rm_watch. */
const systemCalls = { x64: [294, 254, 255], arm64: [26, 27, 28] }

const mask = {
  accessed: 0x1,
  modified: 0x2,
  attributes: 0x4,
  closed: 0x8,
  opened: 0x20,
  movedFrom: 0x40,
  movedTo: 0x80,
  created: 0x100,
  removed: 0x200,
  removedItself: 0x400,
  movedItself: 0x800,
  overflow: 0x4000
}
const inDirectory = 0x40000000

/** The two halves of a rename follow each other, but may arrive apart. */
const halfRenameMs = 50

/** Node fires a timer that is set for longer at once. */
const maxTimerMs = 2 ** 31 - 1

/**
 * Prints what happens at a path, one JSON object a line, until the timeout or the end of stdin.
 * @throws {Error} with the `code` of the system call that failed
 */
export async function watch ({ path, recursive, filter, timeout_secs: timeoutSeconds }) {
  const root = fs.realpathSync(path)
  const child = spawn(perl[0], [...perl.slice(1), ...systemCalls[process.arch].map(String), recursive ? '1' : '', root],
    { env: {}, stdio: ['ignore', 'pipe', 'pipe'] })
  let hasEnded = false
  const end = () => { hasEnded = true; child.kill('SIGKILL') }
  process.stdin.on('end', end).on('error', end).resume()
  if (timeoutSeconds !== null) setTimeout(end, Math.min(timeoutSeconds * 1000, maxTimerMs)).unref()
  const printer = new Printer(filter)
  let failure = ''
  child.stderr.on('data', (text) => { failure += text })
  child.stdout.setEncoding('utf8')
  let rest = ''
  child.stdout.on('data', (text) => {
    const records = `${rest}${text}`.split('\0')
    rest = records.pop()
    for (const record of records) if (record !== '') printer.take(record)
  })
  await new Promise((resolve) => { child.once('close', resolve) })
  printer.flush()
  process.stdin.destroy()
  if (hasEnded) return
  const number = Number.parseInt(failure)
  if (!(number > 0)) throw new Error(`the path can't be watched: ${failure.trim()}`)
  const code = getSystemErrorName(-number)
  throw Object.assign(new Error(`${code}: the path can't be watched, inotify ${path}`), { code })
}

class Printer {
  #filter
  /** The first half of a rename, until the second arrives. */
  #from
  #timer

  /** @param filter types of events; null: all */
  constructor (filter) {
    this.#filter = filter
  }

  take (record) {
    const [, what, cookie, path] = /^(\d+) (\d+) (.*)$/s.exec(record)
    const bits = Number(what)
    if (bits & mask.movedTo && this.#from?.cookie === cookie) {
      const from = this.#from.path
      this.#forget()
      return this.#print('Rename', [from, path])
    }
    this.flush()
    if (bits & mask.movedFrom) {
      this.#from = { cookie, path }
      this.#timer = setTimeout(() => { this.flush() }, halfRenameMs)
    } else {
      const type = typeOf(bits)
      if (type !== undefined) this.#print(type, [path])
    }
  }

  /** No second half came: it went out of sight. */
  flush () {
    const from = this.#from
    if (from === undefined) return
    this.#forget()
    this.#print('RenameFrom', [from.path])
  }

  #forget () {
    clearTimeout(this.#timer)
    this.#from = undefined
  }

  #print (type, paths) {
    if (this.#filter !== null && !this.#filter.includes(type)) return
    process.stdout.write(`${JSON.stringify({ event_type: type, paths })}\n`)
  }
}

/** Directories are opened and read by this watch itself. */
function typeOf (bits) {
  if (bits & mask.overflow) return 'Unknown'
  if (bits & mask.created) return 'Create'
  if (bits & (mask.removed | mask.removedItself)) return 'Remove'
  if (bits & (mask.modified | mask.attributes)) return 'Modify'
  if (bits & mask.movedTo) return 'RenameTo'
  if (bits & mask.movedItself) return 'RenameFrom'
  if (bits & (mask.accessed | mask.closed | mask.opened) && !(bits & inDirectory)) return 'Access'
}
