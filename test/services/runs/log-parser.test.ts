import { readFileSync } from 'node:fs'
import t from 'tap'
import { LineSplitter, readLine } from '../../../services/runs/log-parser.js'
import { writeRecord } from '../../../services/runs/records.js'
import { processorMs } from '../../helpers/own-time.js'
import { ended, eventsOf, started, textOf } from '../../helpers/run-log.js'

const fixture = (name: string) => readFileSync(new URL(`../../fixtures/claude-events/${name}`, import.meta.url))

t.test('Lines come out whole wherever chunks are cut, in the middle of a character, too (4.10)', async (t) => {
  const output = Buffer.from('{"type":"a","text":"äöü 🦄"}\r\nplain ü\n{"type":"b"}')
  const whole = eventsOf(output)
  t.match(whole, [
    { event: 'claude', json: '{"type":"a","text":"äöü 🦄"}' }, { event: 'output', json: '{"text":"plain ü\\n"}' }, { event: 'claude', json: '{"type":"b"}' }
  ])
  t.equal(whole.at(-1)!.id, output.length, 'ids are byte offsets')
  for (let size = 1; size < output.length; size++) t.strictSame(eventsOf(output, size), whole, `chunks of ${size}`)
})

t.test('A recorded terminal stream gives exactly its objects', async (t) => {
  const raw = fixture('text-partial.pty.raw')
  const events = eventsOf(raw, 7)
  const objects = raw.toString().split('\n').filter((line) => line.includes('{"')).length
  t.equal(events.filter(({ event }) => event === 'claude').length, objects)
  t.strictSame(events.filter(({ event }) => event === 'output'), [], 'codes at the end are no output')
  const lines = fixture('tool-failed.jsonl').toString().trim().split('\n')
  t.strictSame(eventsOf(fixture('tool-failed.jsonl')).map(({ json }) => json), lines, 'untouched')
})

t.test('What is glued in front of an object is taken off, and told when it is more than terminal codes', async (t) => {
  const json = '{"type":"x"}'
  for (const glue of ['^C', '\x1b[?25h', '\x1b[?1006l\x1b(B\x0f\x1b[>4m\x1b[<u\x1b7\x1b[r\x1b8\x1b]0;\x07', '\r']) {
    t.match(readLine(Buffer.from(glue + json)), [{ json }], JSON.stringify(glue))
  }
  t.match(readLine(Buffer.from(`warning: ${json}  `)), [{ text: 'warning: ' }, { json }])
  const glued = eventsOf(Buffer.from(`warning: ${json}\n`))
  t.ok(glued[0]!.id < glued[1]!.id, 'each has a position of its own')
})

t.test('What is not an object of the stream is output, and nothing of it is dropped', async (t) => {
  for (const line of ['{"type":', '{"no":"type"}', '[1]', '{"type":1}', 'text', '{']) t.match(readLine(Buffer.from(line)), [{ text: `${line}\n` }], line)
  t.strictSame(readLine(Buffer.from('\x1b[?25h')), [], 'a bare code says nothing')
})

t.test('Lines of many megabytes pass without copying them again and again', async (t) => {
  const json = JSON.stringify({ type: 'user', text: 'x'.repeat(5_000_000) })
  t.ok(processorMs(() => {
    t.equal(eventsOf(Buffer.from(`${json}\n`), 4096)[0]!.json.length, json.length)
  }) < 3000)
  const splitter = new LineSplitter()
  t.equal([...splitter.push(Buffer.alloc(70_000, 'y')), ...splitter.finish()][0]!.line.length, 70_000)
  const spaces = `{"type":"x"${' '.repeat(2_000_000)},"b":1`
  t.ok(processorMs(() => {
    t.match(readLine(Buffer.from(spaces)), [{ text: `${spaces}\n` }])
  }) < 3000, 'whatever is in the line')
})

t.test('A line without an end does not fill the memory, and is cut in the same places for everyone', async (t) => {
  const output = Buffer.from(`${'a'.repeat(2500)}\n${'b'.repeat(1000)}\nc`)
  const cut = (size: number) => {
    const splitter = new LineSplitter(0, 1000)
    const lines: { line: Buffer, end: number }[] = []
    for (let at = 0; at < output.length; at += size) lines.push(...splitter.push(output.subarray(at, at + size)))
    return [...lines, ...splitter.finish()].map(({ line, end }) => [line.length, end])
  }
  const lines = cut(output.length)
  t.strictSame(lines, [[1000, 1000], [1000, 2000], [500, 2501], [1000, 3501], [0, 3502], [1, 3503]])
  for (const size of [1, 7, 999, 1000, 1001]) t.strictSame(cut(size), lines, `chunks of ${size}`)
})

t.test('Reading on from any event gives the events that come next, and the same ids (peers 8)', async (t) => {
  const mixed = Buffer.concat([
    Buffer.from(`${writeRecord(started)}\nwarning: {"type":"a","t":"ü🦄"}\n\x1b[?25h^C{"type":"b"}\r\n{"type":\n\nplain \xff`), Buffer.from([0xff, 0xc3, 0x0a]),
    Buffer.from(`last words${writeRecord(ended)}\n`)
  ])
  for (const format of ['stream-json', 'text'] as const) {
    const all = eventsOf(mixed, 5, format)
    t.equal(all[0]!.event, 'run.started')
    t.equal(all.at(-1)!.event, 'run.completed')
    t.equal(all.at(-1)!.id, mixed.length)
    for (const [index, { id }] of all.entries()) {
      t.strictSame(eventsOf(mixed.subarray(id), 5, format, [], id).map(({ event }) => event === 'output').at(-1), index === all.length - 1 ? undefined : false)
      const rest = eventsOf(mixed.subarray(id), mixed.length, format, [], id)
      if (format === 'stream-json') t.strictSame(rest, all.slice(index + 1), `after ${id}`)
      else t.equal(textOf(rest), textOf(all.slice(index + 1)), `after ${id}`)
    }
  }
})

t.test('What Claude says is never taken for a record, and a record only for its own run', async (t) => {
  const [said] = eventsOf(Buffer.from(`${JSON.stringify({ type: 'x', text: `${writeRecord(ended)}\n` })}\n`))
  t.equal(said!.event, 'claude')
  const other = { ...ended, run: `run_${'2'.repeat(20)}` }
  for (const odd of [other, { ...ended, exitCode: 'x' }, { ...ended, lost: 'x' }, { record: 'ended' }, { ...started, prompt: 'x'.repeat(20_000) }]) {
    for (const format of ['stream-json', 'text'] as const) {
      const events = eventsOf(Buffer.from(`\x1e${JSON.stringify(odd)}\nnext\n`), 9, format)
      t.notOk(events.some(({ event }) => event.startsWith('run.')), JSON.stringify(odd).slice(0, 60))
      t.match(textOf(events), /next\n$/)
    }
  }
})

t.test('An object is one line of an event, whatever parts its tokens', async (t) => {
  const [piece] = readLine(Buffer.from('{"type":"x",\r\r"event":"run.completed"}'))
  t.match(piece, { json: '{"type":"x",  "event":"run.completed"}', object: { event: 'run.completed' } })
})

t.test('Text output goes out as it comes, in whole characters', async (t) => {
  const events = eventsOf(Buffer.from('ab ü🦄 no line end'), 1, 'text')
  t.equal(events.map(({ json }) => JSON.parse(json).text).join(''), 'ab ü🦄 no line end')
  t.equal(events.at(-1)!.id, Buffer.byteLength('ab ü🦄 no line end'))
  for (const size of [1, 2, 100]) {
    const coded = eventsOf(Buffer.from('press ^C \x1b[1mnow\x1b[0m\x1b[?25h'), size, 'text')
    t.equal(coded.map(({ json }) => JSON.parse(json).text).join(''), 'press ^C now', `codes are not text, in chunks of ${size}`)
  }
})

t.test('A known secret is in no event', async (t) => {
  const events = eventsOf(Buffer.from('{"type":"a","env":"KEY=sk-123"}\nKEY=sk-123\n'), 5, 'stream-json', ['sk-123'])
  t.notMatch(JSON.stringify(events), /sk-123/)
  t.match(events, [{ json: '{"type":"a","env":"KEY=[redacted]"}' }, { json: '{"text":"KEY=[redacted]\\n"}' }])
  for (const size of [1, 3, 100]) {
    const text = eventsOf(Buffer.from('KEY=sk-12 sk-123 sk-'), size, 'text', ['sk-123']).map(({ json }) => JSON.parse(json).text)
    t.equal(text.join(''), 'KEY=sk-12 [redacted] sk-', `in chunks of ${size}`)
  }
})
