/**
 * What one line says about each of Claude Code's tools: an icon, its main argument, and how its input is shown when
 * the card is opened. Tools that are not listed show their whole input.
 */
const kinds = {
  Bash: { icon: 'terminal', main: ({ command }) => command, body: ({ command }) => [['sh', command]] },
  Read: { icon: 'file', main: ({ file_path: path }) => path, isPath: true, body: () => [] },
  Write: {
    icon: 'pencil',
    main: ({ file_path: path }) => path,
    isPath: true,
    body: ({ file_path: path, content }) => [[languageOf(path), content]]
  },
  Edit: {
    icon: 'pencil',
    main: ({ file_path: path }) => path,
    isPath: true,
    body: ({ old_string: before, new_string: after }) => [['before', before], ['after', after]]
  },
  NotebookEdit: { icon: 'pencil', main: ({ notebook_path: path }) => path, isPath: true },
  Grep: { icon: 'search', main: ({ pattern, path }) => path ? `${pattern} in ${path}` : pattern, body: () => [] },
  Glob: { icon: 'search', main: ({ pattern }) => pattern, body: () => [] },
  WebFetch: { icon: 'globe', main: ({ url }) => url },
  WebSearch: { icon: 'globe', main: ({ query }) => query },
  Task: { icon: 'robot', main: ({ description }) => description, body: ({ prompt }) => [['prompt', prompt]] },
  Agent: { icon: 'robot', main: ({ description }) => description, body: ({ prompt }) => [['prompt', prompt]] },
  TodoWrite: { icon: 'list', main: ({ todos }) => Array.isArray(todos) ? `${todos.length} tasks` : '' }
}

const languages = {
  bash: 'sh', cjs: 'js', htm: 'html', markdown: 'md', mjs: 'js', yml: 'yaml'
}

/** `{icon, main, sections: [label, text][]}` of a tool's input, which may hold anything. */
export function describeTool (name, input, workdir) {
  const fields = typeof input === 'object' && input !== null ? input : {}
  const kind = kinds[name] ?? { icon: 'tool', main: firstText }
  const main = text(kind.main(fields))
  return {
    icon: kind.icon,
    main: kind.isPath && workdir && main.startsWith(`${workdir}/`) ? main.slice(workdir.length + 1) : main,
    sections: kind.body
      ? kind.body(fields).map(([label, value]) => [label, text(value)]).filter(([, value]) => value !== '')
      : [['input', JSON.stringify(input, null, 2)]]
  }
}

function text (value) {
  if (value === undefined || value === null) return ''
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function firstText (fields) {
  return Object.values(fields).find((value) => typeof value === 'string')
}

function languageOf (path) {
  const [, extension] = /\.(\w{1,10})$/.exec(text(path)) ?? []
  return languages[extension] ?? extension ?? 'text'
}
