import { words } from '../lib/words.js'

/**
 * How each of Claude Code's tools is shown: an icon, a category (for the colour), its main argument, and the content of
 * the open card: labelled texts, or changes; and what it is called when it fails. Tools that are not listed show their
 * input as JSON.
 */
const kinds = {
  Bash: { icon: 'terminal', category: 'run', main: ({ command }) => command, texts: ({ command }) => [['sh', command]] },
  Read: { icon: 'file', category: 'read', main: ({ file_path: path }) => path, isPath: true, texts: () => [] },
  Write: {
    icon: 'pencil',
    category: 'change',
    main: ({ file_path: path }) => path,
    isPath: true,
    changes: ({ content }) => [['', content]]
  },
  Edit: {
    icon: 'pencil',
    category: 'change',
    main: ({ file_path: path }) => path,
    isPath: true,
    changes: ({ old_string: before, new_string: after }) => [[before, after]]
  },
  MultiEdit: {
    icon: 'pencil',
    category: 'change',
    main: ({ file_path: path }) => path,
    isPath: true,
    changes: ({ edits }) => Array.isArray(edits) ? edits.map((edit) => [edit?.old_string, edit?.new_string]) : []
  },
  NotebookEdit: { icon: 'pencil', category: 'change', main: ({ notebook_path: path }) => path, isPath: true },
  Grep: {
    icon: 'search', category: 'read', main: ({ pattern, path }) => path ? words.tools.searchIn(pattern, path) : pattern, texts: () => []
  },
  Glob: { icon: 'search', category: 'read', main: ({ pattern }) => pattern, texts: () => [] },
  WebFetch: { icon: 'globe', category: 'read', main: ({ url }) => url },
  WebSearch: { icon: 'globe', category: 'read', main: ({ query }) => query },
  Task: { icon: 'robot', category: 'agent', main: ({ description }) => description, texts: ({ prompt }) => [['prompt', prompt]] },
  Agent: { icon: 'robot', category: 'agent', main: ({ description }) => description, texts: ({ prompt }) => [['prompt', prompt]] },
  AskUserQuestion: {
    icon: 'chat',
    category: 'plan',
    main: ({ questions }) => Array.isArray(questions) ? questions.map((question) => text(question?.question)).join(' ') : '',
    texts: () => [],
    failed: words.permission.notAnswered
  },
  EnterPlanMode: { icon: 'list', category: 'plan', main: () => '', texts: () => [] },
  ExitPlanMode: {
    icon: 'list',
    category: 'plan',
    main: ({ plan }) => plan,
    texts: ({ plan }) => [['markdown', plan]],
    failed: words.permission.notApproved
  },
  TodoWrite: {
    icon: 'list',
    category: 'plan',
    main: ({ todos }) => Array.isArray(todos) ? words.tools.tasksDone(todos.filter(isDone).length, todos.length) : '',
    texts: ({ todos }) => Array.isArray(todos) ? [['tasks', todos.map(todoLine).join('\n')]] : []
  }
}

/** `{icon, category, main, texts: [label, text][], changes: [before, after][], failed}`. The input is untrusted. */
export function describeTool (name, input, workdir) {
  const fields = typeof input === 'object' && input !== null ? input : {}
  const kind = (Object.hasOwn(kinds, name) && kinds[name]) || { icon: 'tool', category: 'other', main: firstText }
  const main = text(kind.main(fields))
  const changes = kind.changes?.(fields).map((pair) => pair.map(text)) ?? []
  const texts = kind.texts?.(fields) ?? (kind.changes ? [] : [['json', JSON.stringify(input, null, 2)]])
  return {
    icon: kind.icon,
    category: kind.category,
    failed: kind.failed ?? words.tools.failed,
    main: kind.isPath && workdir && main.startsWith(`${workdir}/`) ? main.slice(workdir.length + 1) : main,
    texts: texts.map(([label, value]) => [label, text(value)]).filter(([, value]) => value !== ''),
    changes: changes.filter(([before, after]) => before !== after)
  }
}

function isDone (todo) {
  return todo?.status === 'completed'
}

function todoLine (todo) {
  return `${isDone(todo) ? '☑' : todo?.status === 'in_progress' ? '◐' : '☐'} ${text(todo?.content)}`
}

function text (value) {
  if (value === undefined || value === null) return ''
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function firstText (fields) {
  return Object.values(fields).find((value) => typeof value === 'string')
}
