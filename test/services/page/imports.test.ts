import t from 'tap'
import { ImportGraph } from '../../../services/page/imports.js'

const graphOf = async (texts: Record<string, string>) =>
  await ImportGraph.of(Object.entries(texts).map(([path, text]) => ({ path, text })))

t.test('A module needs what it imports, and what that imports, and each once', async (t) => {
  const graph = await graphOf({
    'app.js': "import { a } from './lib/a.js'\nexport * from './lib/b.js'\nconst later = () => import('./views/c.js')",
    'lib/a.js': "import './b.js'\nimport '../d.js'",
    'lib/b.js': "import '../app.js' // a circle\n// import './comment.js'\nconst text = `import './text.js'`",
    'd.js': '',
    'views/c.js': ''
  })
  t.strictSame(graph.closure('app.js'), ['app.js', 'lib/a.js', 'lib/b.js', 'd.js'])
})

t.test('What is imported when it is needed is not needed before, and several modules share what they import', async (t) => {
  const graph = await graphOf({
    'one.js': "import './shared.js'\nconst later = () => import('./later.js')",
    'two.js': "import './shared.js'",
    'shared.js': '',
    'later.js': ''
  })
  t.strictSame(graph.closure('one.js', 'two.js'), ['one.js', 'two.js', 'shared.js'])
  t.throws(() => graph.closure('one.js', 'three.js'), { message: 'there is no module three.js' })
})

t.test('A module whose name is only known when the page runs is not looked for', async (t) => {
  const graph = await graphOf({ 'app.js': ['const words = await import(`./words/$', '{language}.js`)'].join(''), 'words/en.js': '' })
  t.strictSame(graph.closure('app.js'), ['app.js'])
})

t.test('A module that does not exist is named, with the one that imports it', async (t) => {
  await t.rejects(graphOf({ 'a/b.js': "import '../c.js'" }), { message: 'a/b.js imports c.js, which does not exist' })
  await t.rejects(graphOf({ 'a.js': "import('./c.js')" }), { message: 'a.js imports c.js, which does not exist' })
})
