import { Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { AppError } from '../../errors.js'
import type { PendingPermission, PermissionAnswer, Question } from '../../schemas/run.js'
import type { AskedRecord } from './records.js'

/** What the CLI takes as the answer to a `can_use_tool` request. */
export type Response =
  | { behavior: 'allow', updatedInput: object, updatedPermissions?: object[] }
  | { behavior: 'deny', message: string }

/** The CLI allows four questions with four options each. A tool's input that is no such thing is shown as it is. */
const most = 20
const longest = 200_000
const Text = Type.String({ maxLength: longest })
const Questions = Type.Object({
  questions: Type.Array(Type.Object({
    question: Text,
    header: Text,
    multiSelect: Type.Optional(Type.Boolean()),
    options: Type.Array(
      Type.Object({ label: Text, description: Text, preview: Type.Optional(Text) }), { minItems: 1, maxItems: most })
  }), { minItems: 1, maxItems: most })
})
/** Of the changes that the CLI suggests, those that are rules. */
const SuggestedRules = Type.Object({
  type: Type.Literal('addRules'),
  behavior: Type.Literal('allow'),
  rules: Type.Array(Type.Object({
    toolName: Type.String({ minLength: 1, maxLength: 200, pattern: '^[^()]*$' }),
    ruleContent: Type.Optional(Type.String({ minLength: 1, maxLength: 3000 }))
  }), { minItems: 1, maxItems: most })
})
const Plan = Type.Object({ plan: Type.String() })

const denials = {
  tool: 'The user does not allow this.',
  question: 'The user does not answer this. Decide yourself, or go on without it.',
  plan: 'The user does not approve this plan, and wants you to go on planning.'
}

/** A request as it is told to those who may answer it. */
export function describeRequest (record: AskedRecord): PendingPermission {
  const { at, timeoutMs, request: { request_id: id, request } } = record
  const { tool_name: toolName, tool_use_id: toolUseId, input } = request
  const time = (ms: number) => new Date(ms).toISOString()
  const about = { toolName, toolUseId: typeof toolUseId === 'string' ? toolUseId.slice(0, 200) : null }
  const times = { requestedAt: time(at * 1000), expiresAt: time(at * 1000 + timeoutMs) }
  const questions = toolName === 'AskUserQuestion' ? questionsIn(input) : undefined
  if (questions !== undefined) return { id, kind: 'question', ...about, questions, ...times }
  if (toolName === 'ExitPlanMode') {
    return { id, kind: 'plan', ...about, plan: Value.Check(Plan, input) ? input.plan : '', ...times }
  }
  const suggestions = request.permission_suggestions
  const canRemember = Array.isArray(suggestions) && suggestions.length > 0
  const rules = canRemember && { rules: rulesFor(record).map(textOfRule) }
  return { id, kind: 'tool', ...about, input, canRemember, ...rules, ...times }
}

interface Rule { toolName: string, ruleContent?: string }

function textOfRule ({ toolName, ruleContent }: Rule): string {
  return ruleContent === undefined ? toolName : `${toolName}(${ruleContent})`
}

/** As narrow as the CLI suggests; where it suggests another mode instead, the tool. */
function rulesFor ({ request: { request } }: AskedRecord): Rule[] {
  const { tool_name: toolName, permission_suggestions: suggestions } = request
  const rules = Array.isArray(suggestions)
    ? suggestions.flatMap((suggestion) => Value.Check(SuggestedRules, suggestion) ? suggestion.rules : [])
    : []
  return rules.length > 0
    ? rules.map(({ toolName, ruleContent }) => ({ toolName, ...ruleContent !== undefined && { ruleContent } }))
    : [{ toolName }]
}

/** Answers are told to Claude by the text of the question, so two questions must not have the same. */
function questionsIn (input: unknown): Question[] | undefined {
  if (!Value.Check(Questions, input)) return
  const questions = input.questions.map(({ question, header, multiSelect = false, options }) => ({
    question,
    header,
    multiSelect,
    options: options.map(({ label, description, preview }) =>
      ({ label, description, ...preview !== undefined && { preview } }))
  }))
  const isDistinct = (texts: string[]) => new Set(texts).size === texts.length
  const distinct = isDistinct(questions.map(({ question }) => question)) &&
    questions.every(({ options }) => isDistinct(options.map(({ label }) => label)))
  return distinct && JSON.stringify(questions).length <= longest ? questions : undefined
}

/**
 * What Claude is told. Some versions of the CLI (2.1.197) insist on the input of a tool that is allowed.
 * @throws {AppError} BAD_REQUEST, naming the field, when that is no answer to this request.
 */
export function responseTo (record: AskedRecord, answer: PermissionAnswer): Response {
  const request = describeRequest(record)
  checkFields(request, answer)
  if (answer.decision === 'deny') return { behavior: 'deny', message: answer.message ?? denials[request.kind] }
  const { questions } = request
  if (questions !== undefined) return { behavior: 'allow', updatedInput: answered(questions, answer.answers) }
  const { input } = record.request.request
  const change = changeOf(record, answer)
  return { behavior: 'allow', updatedInput: input, ...change && { updatedPermissions: [change] } }
}

/**
 * What changes: for the rest of the run, or in the CLI's own settings, which lie on the volume. For a run, the rules
 * that the CLI suggests are too narrow: the tool would ask again.
 */
function changeOf (record: AskedRecord, { remember, permissionMode }: PermissionAnswer): object | undefined {
  const { tool_name: toolName } = record.request.request
  const rules = { type: 'addRules', behavior: 'allow' }
  if (remember === 'run') return { ...rules, rules: [{ toolName }], destination: 'session' }
  if (remember === 'workspace') return { ...rules, rules: rulesFor(record), destination: 'userSettings' }
  const mode = permissionMode === 'ask' ? 'default' : permissionMode
  return mode && { type: 'setMode', mode, destination: 'session' }
}

/** With which decision, and to which kind of request, a field is an answer. */
const uses = {
  message: { decision: 'deny', kind: undefined },
  answers: { decision: 'allow', kind: 'question' },
  permissionMode: { decision: 'allow', kind: 'plan' },
  remember: { decision: 'allow', kind: 'tool' }
} as const

function checkFields ({ kind, canRemember }: PendingPermission, answer: PermissionAnswer) {
  for (const [field, use] of Object.entries(uses)) {
    if (answer[field as keyof typeof uses] === undefined) continue
    if (answer.decision !== use.decision) throw bad(`body.${field} goes with body.decision ${use.decision}.`)
    if (use.kind !== undefined && kind !== use.kind) {
      throw bad(`body.${field} is for requests of the kind ${use.kind}; this one's kind is ${kind}.`)
    }
  }
  if (answer.remember !== undefined && canRemember !== true) {
    throw bad('body.remember: Claude asks for this each time, whatever was allowed before.')
  }
}

function answered (questions: Question[], answers: PermissionAnswer['answers']): object {
  if (answers === undefined) throw bad('body.answers is missing: Claude asks questions.')
  if (answers.length !== questions.length) {
    throw bad(`body.answers has ${answers.length} answers for ${questions.length} questions.`)
  }
  const texts = questions.map((question, index) => textOf(question, answers[index]!, `body.answers[${index}]`))
  return { questions, answers: Object.fromEntries(questions.map(({ question }, index) => [question, texts[index]])) }
}

type Answer = NonNullable<PermissionAnswer['answers']>[number]

/** One answer as the CLI takes it. @param field where in the body it is. */
function textOf ({ multiSelect, options }: Question, { options: chosen = [], text }: Answer, field: string): string {
  for (const [index, label] of chosen.entries()) {
    const isOption = options.some((option) => option.label === label)
    if (!isOption) throw bad(`${field}.options[${index}] is not an option of that question.`)
    if (chosen.indexOf(label) !== index) throw bad(`${field}.options[${index}] is there twice.`)
  }
  const parts = [...chosen, ...text === undefined ? [] : [text]]
  if (parts.length === 0) throw bad(`${field} is empty: options or text is needed.`)
  if (text?.trim() === '') throw bad(`${field}.text is blank.`)
  if (!multiSelect && parts.length > 1) throw bad(`${field} has more than one answer to a question that takes one.`)
  return parts.join(', ')
}

function bad (message: string): AppError {
  return new AppError('BAD_REQUEST', { message })
}
