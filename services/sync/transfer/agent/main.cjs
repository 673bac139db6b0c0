'use strict'
// The program itself: each line of standard input is a task, each line of standard output a reply, both in JSON.
const reading = require('./read.cjs')
const writing = require('./write.cjs')
const requests = require('./http.cjs')

const batchDelayMs = 4
/** Without tasks for so long the service must be gone, and the agent must not keep the sandbox awake. */
const abandonedMs = 180_000

const tasks = {
  /** The first task: fails when S3 cannot be reached from here. */
  async connect ({ origin, partialPrefix }) {
    writing.namePartialsAfter(partialPrefix)
    await requests.connect(origin)
  },
  ...reading.tasks,
  ...writing.tasks
}

let replies = []
function reply (message) {
  replies.push(JSON.stringify(message))
  if (replies.length > 1) return
  // Every write becomes a message of its own, which costs more than to wait for other replies.
  setTimeout(() => {
    process.stdout.write(`${replies.join('\n')}\n`)
    replies = []
  }, batchDelayMs)
}

let abandoned = setTimeout(() => {})
let pending = 0
async function handle ({ id, task, ...details }) {
  clearTimeout(abandoned)
  pending++
  try {
    reply({ id, ...await tasks[task](details) })
  } catch (error) {
    const code = error.code || 'Unknown'
    reply({ id, ...error instanceof writing.LocalFileError ? { fileError: code } : { code } })
  }
  if (--pending === 0) abandoned = setTimeout(() => process.exit(1), abandonedMs)
}

let rest = ''
process.stdin.setEncoding('utf8').on('data', (text) => {
  const lines = (rest + text).split('\n')
  rest = lines.pop()
  for (const line of lines) handle(JSON.parse(line))
}).on('end', () => process.exit(0))
process.stdout.on('error', () => process.exit(1))
process.on('exit', writing.discardAll)
