import { spawnSync } from 'node:child_process'
import { readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { scriptsOf } from '../../../services/runs/run-directory.js'
import { eventsOf, run, started } from '../../helpers/run-log.js'

const commands = [['awk'], ['mawk', '-W', 'interactive'], ['gawk'], ['busybox', 'awk']]
const ask = (id: string, subtype = 'can_use_tool') =>
  JSON.stringify({ type: 'control_request', request_id: id, request: { subtype, tool_name: 'Bash', input: { command: "'$(id)'" } } })

for (const command of commands) {
  const there = spawnSync('sh', ['-c', `command -v ${command[0]}`]).status === 0
  const skip = !there && `${command[0]} is not installed`

  t.test(`Requests become records, and records come in between lines, with ${command.join(' ')}`, { skip }, async (t) => {
    const state = stateOf(t)
    const answer = `\x1e{"record":"resolved","run":"${run}","id":"a-1","decision":"allow","by":"user"}`
    const line = `{"type":"text","text":"${'z'.repeat(9000)}"}`
    const input = [
      '{"type":"first"}', ask('a-1'), ask('a-1'), `${line.slice(0, 5000)}${answer}`, answer, line.slice(5000), ask('../x'), ask('hook', 'hook_callback'),
      ask('b-2'), '{"type":"control_cancel_request","request_id":"b-2"}', '{"type":"control_cancel_request","request_id":"c-3"}',
      '{"is_error":false,"type":"result"}', `cut off${answer}`, ''
    ].join('\n')
    const { stdout, status } = filter(command, state, input)
    t.equal(status, 0)
    const events = eventsOf(Buffer.from(stdout))
    const data = events.map(({ json }) => JSON.parse(json))
    t.strictSame(events.map(({ event }, index) => [event, data[index].type ?? data[index].id ?? data[index].text]), [
      ['claude', 'first'], ['permission.requested', 'a-1'], ['permission.resolved', 'a-1'], ['permission.resolved', 'a-1'], ['claude', 'text'],
      ['claude', 'control_request'], ['claude', 'control_request'], ['permission.requested', 'b-2'], ['permission.resolved', 'b-2'],
      ['claude', 'result'], ['permission.resolved', 'a-1'], ['output', 'cut off\n']
    ])
    t.match(JSON.parse(events[1]!.json), { input: { command: "'$(id)'" } })
    t.equal(events[4]!.json, line)
    t.equal(readFileSync(join(state, 'answers'), 'utf8'), 'refuse hook\n')
    t.equal(readlinkSync(join(state, 'permissions', 'b-2', 'resolved')), 'deny claude')
    t.match(spawnSync('ls', [join(state, 'permissions', 'a-1')], { encoding: 'utf8' }).stdout, 'deadline\nlogged\nrequest\n')
  })

  t.test(`A request is one wherever its keys stand, and only then, with ${command.join(' ')}`, { skip }, async (t) => {
    const state = stateOf(t)
    const request = '"request":{"input":{"subtype":"x","type":"y","request_id":"z"},"tool_name":"Bash","subtype":"can_use_tool"}'
    const requests = [
      `{${request},"request_id":"one","type":"control_request"}`,
      `{"request_id":"two",${request},"uuid":"u","type":"control_request"}`,
      `{ "type" : "control_request" , "session_id" : null, "n": [1,{"a":[]}], ${request}, "request_id" : "three" }`,
      `{"text":"a \\"quoted\\" \\\\","type":"control_request","note":"{[\\"}",${request},"request_id":"four"}`,
      `{"type":"control_request",${request.replace('"x"', `"${'y'.repeat(3_000_000)}"`)},"request_id":"five"}`,
      `\x1b[?25h^C{"request_id":"six",${request},"type":"control_request"}`
    ]
    const none = [
      `{"type":"user","nested":{"type":"control_request","request_id":"no",${request}}}`,
      `{"type":"user","list":["type","control_request",{"type":"control_request"}],"request_id":"no",${request}}`,
      JSON.stringify({ type: 'text', text: requests[0] }),
      `{"type":"control_request",${request},"request_id":"../no"}`,
      `{"type":"control_request",${request}}`
    ]
    const cancel = '{"uuid":"u","request_id":"one","type":"control_cancel_request"}'
    const { stdout, status } = filter(command, state, [...requests, ...none, cancel, ''].join('\n'))
    t.equal(status, 0)
    const events = eventsOf(Buffer.from(stdout))
    t.strictSame(events.flatMap(({ event, json }) => event === 'permission.requested' ? JSON.parse(json).id : []),
      ['one', 'two', 'three', 'four', 'five', 'six'])
    t.strictSame(events.filter(({ event }) => event === 'claude').map(({ json }) => json), none, 'all else passes as it is')
    t.match(events.at(-1), { event: 'permission.resolved', json: /"one"/ })
  })
}

/** The state directory of a run that asks. */
function stateOf (t: Test): string {
  const state = t.testdir({ permissions: {}, answers: '', 'input-holder': '999999999' })
  const scripts = Object.entries(scriptsOf({ ...started, asks: true }))
  for (const [name, script] of scripts) writeFileSync(join(state, name), script)
  return state
}

function filter ([program, ...options]: string[], state: string, input: string) {
  const variables = { state, run, timeout_ms: '5000', resolved_head: `\x1e{"record":"resolved","run":"${run}","id":"` }
  const args = Object.entries(variables).flatMap(([name, value]) => ['-v', `${name}=${value}`])
  return spawnSync(program!, [...options, ...args, '-f', join(state, 'permission-filter.awk')], {
    input, encoding: 'utf8', maxBuffer: 100_000_000, env: { ...process.env, LC_ALL: 'C' }
  })
}
