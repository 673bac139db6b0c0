'use strict'
// The program itself: one JSON message a line on standard input asks for something, an answer is such a line, too.
const reading = require('./read.cjs')
const writing = require('./write.cjs')
const requests = require('./http.cjs')

const gatherMs = 4
/** Nobody asks for anything any more: whoever did is gone, and this must not keep the sandbox awake. */
const abandonedMs = 180_000

const operations = {
  /** Whether S3 can be reached from here at all. */
  async hello ({ origin, partPrefix }) {
    writing.namePartsAfter(partPrefix)
    await requests.connect(origin)
  },
  ...reading.operations,
  ...writing.operations
}

let answers = []
function answer (message) {
  answers.push(JSON.stringify(message))
  if (answers.length > 1) return
  // Every write is a message on its way, which costs more than to wait for some company.
  setTimeout(() => {
    process.stdout.write(`${answers.join('\n')}\n`)
    answers = []
  }, gatherMs)
}

let abandoned = setTimeout(() => {})
let pending = 0
async function handle ({ id, task, ...details }) {
  clearTimeout(abandoned)
  pending++
  try {
    answer({ id, ...await operations[task](details) })
  } catch (error) {
    const code = error.code || 'Unknown'
    answer({ id, ...error instanceof writing.Refused ? { refused: code } : { code } })
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
