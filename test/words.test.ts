import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import ts from 'typescript'

type Word = string | string[] | ((...values: never[]) => unknown)
interface Words { [name: string]: Word | Words }

const root = fileURLToPath(new URL('../static', import.meta.url))
const read = (path: string) => readFileSync(join(root, path), 'utf8')
const languages = readdirSync(join(root, 'words')).map((file) => file.replace('.js', ''))
const modules = readdirSync(root, { recursive: true }).map(String)
  .filter((path) => path.endsWith('.js') && !path.startsWith('words/'))
const wordsOf = async (language: string) => (await import(join(root, 'words', `${language}.js`)) as { default: Words }).default
const english = await wordsOf('en')

/** Each word by its path, such as `chat.loading`. */
function flat (words: Words, above = ''): [string, Word][] {
  return Object.entries(words).flatMap(([name, value]) =>
    typeof value === 'object' && !Array.isArray(value) ? flat(value as Words, `${above}${name}.`) : [[`${above}${name}`, value] as [string, Word]])
}

t.test('Every language has the words of English, and no others', async (t) => {
  const shape = (words: Words) => Object.fromEntries(flat(words).map(([path, word]) =>
    [path, typeof word === 'function' ? `a function of ${word.length}` : Array.isArray(word) ? word.length : typeof word]))
  for (const language of languages) {
    const words = await wordsOf(language)
    t.strictSame(shape(words), shape(english), language)
    t.match(words.dir, /^(ltr|rtl)$/)
    t.strictSame(flat(words).filter(([, word]) => word === ''), [], `${language}: no word is empty`)
  }
  const [, listed = ''] = /export const languages = \[(.*?)\]/.exec(read('lib/words.js'))!
  t.strictSame(listed.match(/\w+/g)!.sort(), languages.sort(), 'the page knows each of them')
})

t.test('Every sentence has a value for each that goes in, in every language', async (t) => {
  const filled = (word: Word) => {
    if (typeof word !== 'function') return ''
    return [word(...Array.from({ length: word.length }, (_, at) => `<${at}>`) as never[])].flat().join('')
  }
  for (const language of languages) {
    const words = new Map(flat(await wordsOf(language)))
    for (const [path, word] of flat(english)) {
      if (typeof word !== 'function' || /\{/.test(word.toString().split('=>')[0]!)) continue
      const values = (text: string) => new Set(text.match(/<\d+>/g) ?? [])
      t.strictSame(values(filled(words.get(path)!)), values(filled(word)), `${language}: ${path}`)
    }
  }
})

t.test('Every word is used', async (t) => {
  const used = modules.flatMap((path) => pathsIn(read(path)))
  const isUsed = (path: string) => used.some((one) => one === path || path.startsWith(`${one}.`) || one.startsWith(`${path}.`))
  t.strictSame(flat(english).map(([path]) => path).filter((path) => !isUsed(path)), [])
  const known = flat(english).map(([path]) => path)
  // Something of a word may follow, such as `.map`.
  const exists = (path: string) => known.some((one) => one === path || one.startsWith(`${path}.`) || path.startsWith(`${one}.`))
  t.strictSame(used.filter((path) => !exists(path)), [], 'and there is every word that is used')
})

/** What a module says as `words.chat.send`, also where it has given `words.chat` another name before. */
function pathsIn (text: string): string[] {
  const code = text.replace(/'[^'\n]*words\.js'/g, '')
  const names: [string, string][] = [...code.matchAll(/const \{ (.*?) \} = words((?:\.\w+)*)$/gm)].flatMap(([, names, above]) =>
    names!.split(', ').map((one): [string, string] => {
      const [name, alias = name] = one.split(': ')
      return [alias!, `${above}.${name}`]
    }))
  const direct = [...code.matchAll(/\bwords\.([\w.]+)/g)].map(([, path]) => path!)
  const renamed = names.flatMap(([name, path]) => {
    const more = [...code.matchAll(new RegExp(`(?<![\\w.'])${name}((?:\\.\\w+)+)`, 'g'))].map(([, rest]) => `${path}${rest}`)
    return (more.length > 0 ? more : [path]).map((path) => path.slice(1))
  })
  return [...direct.filter((path) => !names.some(([, above]) => above.startsWith(`.${path}.`))), ...renamed]
}

t.test('Styles name the sides of a line, which may run from right to left', async (t) => {
  const sheets = readdirSync(join(root, 'styles')).filter((file) => file !== 'direction.css')
  const physical = /\b(margin|padding|border|inset)-(left|right):|[ {;](left|right):|text-align: (left|right)/
  t.strictSame(sheets.flatMap((file) => read(`styles/${file}`).split('\n').filter((line) => physical.test(line))), [])
})

/** Names, which are the same in every language: of tools, models, keys and events, and what links are marked with. */
const names = new Set([
  'Claude', 'Opus', 'Sonnet', 'Haiku', 'Fable', 'Bash', 'Write', 'TodoWrite', 'TaskCreate', 'TaskUpdate',
  'ArrowUp', 'ArrowDown', 'Ctrl', 'Shift', 'Esc', 'Enter', 'Backspace', 'Files', 'noopener', 'noreferrer', 'system-ui', 'sans-serif'
])
/** Where a text is for the browser. */
const forBrowser = {
  property: ['class', 'kind'],
  call: ['matchMedia', 'querySelector', 'querySelectorAll', 'matches', 'closest', '#copyLast', 'includes']
}
/** Where one is for people, be it a single small word. */
const forPeople = ['aria-label', 'title', 'placeholder', 'alt', 'textContent', 'message', 'hint']

t.test('No module says anything to people by itself', async (t) => {
  t.strictSame(modules.flatMap((path) => said(path, read(path))), [])
  const seen = (code: string) => said('x', code).length
  for (const code of ["h('p', {}, 'some words')", "h('p', {}, on ? 'word' : other)", 'h("p", {}, `files`)',
    "notice({ message: 'word' })", "element.textContent = 'word'", "h('p', { title: 'Word' })",
    "const labels = { one: 'Word' }", "throw new Error('Word')"]) t.equal(seen(code), 1, code)
  t.equal(seen("h('p', { class: 'some words', title }, words.x, '·')") + seen("if (key === 'Escape') go('a')"), 0)
})

/** Texts that seem to be for people: several words, a capital letter at the beginning, or where such are shown. */
function said (path: string, text: string): string[] {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true, ts.ScriptKind.JS)
  const found: string[] = []
  const visit = (node: ts.Node) => {
    if (ts.isStringLiteralLike(node) || ts.isTemplateHead(node) || ts.isTemplateMiddleOrTemplateTail(node)) {
      const seemsSo = /\p{L}{2,}[.,:;]? \p{L}|^\P{L}*\p{Lu}\p{Ll}+/u.test(node.text) || (isShown(node) && /\p{L}{2,}/u.test(node.text))
      const isName = node.text.split(/[ ,]+/).every((word) => word.length < 2 || names.has(word))
      if (seemsSo && !isName && !/^<\w/.test(node.text) && !isForBrowser(node)) found.push(`${path}: ${node.text}`)
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

/** What the text becomes a part of, and as which of its parts. */
function useOf (node: ts.Node): { parent: ts.Node, part: ts.Node } {
  let [part, parent] = [node, node.parent]
  while (ts.isConditionalExpression(parent) || ts.isArrayLiteralExpression(parent) || ts.isTemplateSpan(parent) ||
    ts.isTemplateExpression(parent) || ts.isParenthesizedExpression(parent) ||
    (ts.isBinaryExpression(parent) && ['||', '&&', '??', '+'].includes(parent.operatorToken.getText()))) {
    [part, parent] = [parent, parent.parent]
  }
  return { parent, part }
}

/** An assignment's, a property's or a variable's. */
function nameOf (node: ts.Node): string | undefined {
  if (ts.isPropertyAssignment(node) || ts.isVariableDeclaration(node)) return node.name.getText().replaceAll("'", '')
  const isAssignment = ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.EqualsToken
  if (isAssignment && ts.isPropertyAccessExpression(node.left)) return node.left.name.text
}

function calledIn (node: ts.Node): string | undefined {
  if (!ts.isCallExpression(node)) return
  return ts.isPropertyAccessExpression(node.expression) ? node.expression.name.text : node.expression.getText()
}

function isShown (node: ts.Node): boolean {
  const { parent, part } = useOf(node)
  if (ts.isCallExpression(parent) && calledIn(parent) === 'h') return parent.arguments.indexOf(part as ts.Expression) > 1
  return calledIn(parent) === 'announce' || forPeople.includes(nameOf(parent) ?? '')
}

function isForBrowser (node: ts.Node): boolean {
  const { parent } = useOf(node)
  if (ts.isImportDeclaration(parent) || (ts.isPropertyAssignment(node.parent) && node.parent.name === node)) return true
  if (ts.isBinaryExpression(parent)) return ['===', '!=='].includes(parent.operatorToken.getText())
  // As in `['one', 'two'].includes(it)`.
  if (ts.isPropertyAccessExpression(parent)) return parent.name.text === 'includes'
  return forBrowser.property.includes(nameOf(parent) ?? '') || forBrowser.call.includes(calledIn(parent) ?? '')
}
