import t from 'tap'
import type { PermissionAnswer } from '../../../schemas/run.js'
import { describeRequest, responseTo } from '../../../services/runs/requests.js'
import type { AskedRecord } from '../../../services/runs/records.js'
import { asked } from '../../helpers/run-log.js'

const option = (label: string) => ({ label, description: `It is ${label}` })
const colour = { question: 'Which colour?', header: 'Colour', multiSelect: false, options: [option('Red'), { ...option('Blue'), preview: '# blue' }] }
const sizes = { question: 'Which sizes?', header: 'Sizes', multiSelect: true, options: [option('S'), option('M'), option('L, wide')] }
const record = (toolName: string, input: object, more: object = {}): AskedRecord =>
  ({ ...asked, request: { request_id: 'a-1', request: { tool_name: toolName, input: input as Record<string, unknown>, ...more } } })
const describe = (...request: Parameters<typeof record>) => describeRequest(record(...request))
const question = record('AskUserQuestion', { questions: [colour, sizes], more: 1 })
const plan = record('ExitPlanMode', { plan: '# Do it', planFilePath: '/x.md' })
const suggested = { permission_suggestions: [{ type: 'addRules' }] }
const tool = record('Bash', { command: 'x' }, suggested)

t.test('A request is a question, a plan, or a tool with its input; what is odd is a tool', async (t) => {
  const times = { requestedAt: '2023-11-14T22:13:20.000Z', expiresAt: '2023-11-14T22:14:20.000Z' }
  t.strictSame(describeRequest(question), { id: 'a-1', kind: 'question', toolName: 'AskUserQuestion', toolUseId: null, questions: [colour, sizes], ...times })
  t.strictSame(describeRequest(plan), { id: 'a-1', kind: 'plan', toolName: 'ExitPlanMode', toolUseId: null, plan: '# Do it', ...times })
  t.strictSame(describe('Bash', { command: 'x' }, { tool_use_id: 'toolu_1' }),
    { id: 'a-1', kind: 'tool', toolName: 'Bash', toolUseId: 'toolu_1', input: { command: 'x' }, canRemember: false, ...times })
  t.match(describe('ExitPlanMode', {}), { kind: 'plan', plan: '' }, 'a plan that was never written')
  t.match(describe('ExitPlanMode', { plan: 7 }), { kind: 'plan', plan: '' })
  const { multiSelect, ...single } = colour
  t.match(describe('AskUserQuestion', { questions: [single] }), { kind: 'question', questions: [{ multiSelect: false }] })

  const odd: unknown[] = [
    undefined, 'x', [], [colour, colour], [{ ...colour, options: [] }], [{ ...colour, options: [option('A'), option('A')] }],
    [{ ...colour, question: 7 }], [{ ...colour, options: [{ label: 'x' }] }], Array.from({ length: 21 }, (_, n) => ({ ...colour, question: `${n}` })),
    [{ ...colour, question: 'x'.repeat(200_001) }], [{ ...colour, options: Array.from({ length: 10 }, (_, n) => option(`${n}${'x'.repeat(30_000)}`)) }]
  ]
  for (const questions of odd) {
    t.match(describe('AskUserQuestion', { questions }), { kind: 'tool', input: { questions } }, JSON.stringify(questions)?.slice(0, 80))
  }
  for (const suggestions of [undefined, null, [], {}, 'x']) {
    t.match(describe('Bash', {}, { permission_suggestions: suggestions }), { canRemember: false })
  }
  t.match(describe('Bash', {}, { tool_use_id: { x: 1 } }), { toolUseId: null })
  t.match(describe('Bash', {}, suggested), { canRemember: true, rules: ['Bash'] })
})

t.test('Claude is told what was chosen, what was written, or what was refused', async (t) => {
  const allow = { decision: 'allow' } as const
  t.strictSame(responseTo(question, { ...allow, answers: [{ options: ['Blue'] }, { options: ['L, wide', 'S'], text: 'XXL, "too"' }] }), {
    behavior: 'allow',
    updatedInput: { questions: [colour, sizes], answers: { 'Which colour?': 'Blue', 'Which sizes?': 'L, wide, S, XXL, "too"' } }
  })
  t.match(responseTo(question, { ...allow, answers: [{ text: 'Green\nor so' }, { text: 'none' }] }),
    { updatedInput: { answers: { 'Which colour?': 'Green\nor so', 'Which sizes?': 'none' } } })
  const proto = record('AskUserQuestion', { questions: [{ ...colour, question: '__proto__' }] })
  t.match(JSON.stringify(responseTo(proto, { ...allow, answers: [{ options: ['Red'] }] })), '"answers":{"__proto__":"Red"}')

  const input = { plan: '# Do it', planFilePath: '/x.md' }
  const allowed = { behavior: 'allow', updatedInput: input }
  const changed = (more: object) => ({ ...allowed, updatedPermissions: [{ ...more, destination: 'session' }] })
  t.strictSame(responseTo(plan, allow), allowed, 'with the mode it had before')
  t.strictSame(responseTo(plan, { ...allow, permissionMode: 'ask' }), changed({ type: 'setMode', mode: 'default' }))
  t.strictSame(responseTo(plan, { ...allow, permissionMode: 'bypassPermissions' }), changed({ type: 'setMode', mode: 'bypassPermissions' }))
  t.strictSame(responseTo(record('Write', input), allow), allowed)
  t.strictSame(responseTo(record('Write', input, suggested), { ...allow, remember: 'run' }),
    changed({ type: 'addRules', behavior: 'allow', rules: [{ toolName: 'Write' }] }))

  const rules = [{ toolName: 'Bash', ruleContent: 'npm test:*' }, { toolName: 'WebFetch' }]
  const ruled = record('Bash', input, { permission_suggestions: [{ type: 'addRules', behavior: 'allow', rules, destination: 'x' }] })
  t.match(describeRequest(ruled), { rules: ['Bash(npm test:*)', 'WebFetch'] })
  t.strictSame(responseTo(ruled, { ...allow, remember: 'workspace' }), {
    ...allowed, updatedPermissions: [{ type: 'addRules', behavior: 'allow', rules, destination: 'userSettings' }]
  })
  for (const odd of [{ rules: [{ toolName: 'x(y' }] }, { rules: 7 }, { rules, behavior: 'deny' }, { type: 'setMode', mode: 'acceptEdits' }]) {
    const permissions = { permission_suggestions: [{ type: 'addRules', behavior: 'allow', ...odd }] }
    t.strictSame(describe('Write', {}, permissions).rules, ['Write'])
  }
  for (const request of [question, plan, tool]) {
    t.strictSame(responseTo(request, { decision: 'deny', message: 'No "x"' }), { behavior: 'deny', message: 'No "x"' })
    t.match(responseTo(request, { decision: 'deny' }), { behavior: 'deny', message: /^The user does not/ })
  }
})

t.test('What is no answer to a request is refused, and the field is named', async (t) => {
  const two = (...answers: object[]) => ({ decision: 'allow', answers })
  const red = { options: ['Red'] }
  const cases: [AskedRecord, object, RegExp][] = [
    [question, { decision: 'allow' }, /^body\.answers is missing/],
    [question, two(red), /^body\.answers has 1 answers for 2 questions/],
    [question, two(red, red, red), /^body\.answers has 3 answers/],
    [question, two(red, { options: ['S', 'XL'] }), /^body\.answers\[1\]\.options\[1\] is not an option/],
    [question, two({ options: ['red'] }, red), /^body\.answers\[0\]\.options\[0\] is not an option/],
    [question, two(red, { options: ['S', 'S'] }), /^body\.answers\[1\]\.options\[1\] is there twice/],
    [question, two({ options: ['Red', 'Blue'] }, { options: ['S'] }), /^body\.answers\[0\] has more than one answer/],
    [question, two({ options: ['Red'], text: 'x' }, { options: ['S'] }), /^body\.answers\[0\] has more than one answer/],
    [question, two(red, {}), /^body\.answers\[1\] is empty/],
    [question, two(red, { text: ' \n' }), /^body\.answers\[1\]\.text is blank/],
    [question, { decision: 'deny', answers: [red, red] }, /^body\.answers goes with body\.decision allow/],
    [question, { decision: 'allow', message: 'x' }, /^body\.message goes with body\.decision deny/],
    [question, { ...two(red, { options: ['S'] }), permissionMode: 'ask' }, /^body\.permissionMode is for requests of the kind plan; this one's kind is question/],
    [plan, two(red), /^body\.answers is for requests of the kind question; this one's kind is plan/],
    [plan, { decision: 'deny', permissionMode: 'ask' }, /^body\.permissionMode goes with body\.decision allow/],
    [plan, { decision: 'allow', remember: 'run' }, /^body\.remember is for requests of the kind tool/],
    [tool, { decision: 'allow', permissionMode: 'acceptEdits' }, /^body\.permissionMode is for requests of the kind plan/],
    [tool, { decision: 'deny', remember: 'run' }, /^body\.remember goes with body\.decision allow/],
    [record('Bash', {}), { decision: 'allow', remember: 'run' }, /^body\.remember: Claude asks for this each time/]
  ]
  for (const [request, answer, message] of cases) {
    t.throws(() => responseTo(request, answer as PermissionAnswer), { code: 'BAD_REQUEST', message }, JSON.stringify(answer))
  }
})
