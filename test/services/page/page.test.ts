import { createHash } from 'node:crypto'
import { join } from 'node:path'
import t from 'tap'
import { Asset } from '../../../services/page/asset.js'
import { Page } from '../../../services/page/page.js'

const html = `<!doctype html>
<head>
  <link rel="icon" href="icon.svg" type="image/svg+xml">
  <link rel="stylesheet" href="styles/one.css">
  <link rel="stylesheet" href="styles/two.css">
  <script type="module" src="app.js"></script>
  <link rel="modulepreload" href="view.js">
</head>
<body><img src="icon.svg"><a href="#">icon.svg</a></body>
`
const files: Record<string, string> = {
  'index.html': html,
  'frame.html': '<script src="vendor/big.js"></script>',
  'icon.svg': '<svg/>',
  'styles/one.css': 'a { color: red }\n',
  'styles/two.css': 'a { color: blue }\n',
  'app.js': "import './lib.js'\nconst view = () => [import('./view.js'), import('./other.js')]\n",
  'lib.js': 'export const one = 1\n',
  'view.js': "import './lib.js'\nimport './part.js'\nimport './vendor/big.js'\n",
  'part.js': '',
  'other.js': '',
  'vendor/big.js': 'not a module at all: }',
  'vendor/big.css': ''
}

const assetsOf = (more: Record<string, string> = {}) =>
  Object.entries({ ...files, ...more }).map(([path, text]) => new Asset(path, Buffer.from(text)))
const textAt = (page: Page, path: string) => page.find(path)!.asset.content.toString()
const hashed = (path: string) => assetsOf().find((asset) => asset.path === path)!.hashedPath

t.test('Each file is served unchanged under its own name, and for good under one with its hash', async (t) => {
  const page = await Page.of(assetsOf())
  for (const path of ['app.js', 'lib.js', 'icon.svg', 'vendor/big.js']) {
    t.equal(textAt(page, `/${path}`), files[path])
    t.equal(page.find(`/${path}`)!.immutable, false)
    t.match(hashed(path), /^(.*)\.\w{10}\.(js|svg)$/)
    t.equal(textAt(page, `/${hashed(path)}`), files[path])
    t.equal(page.find(`/${hashed(path)}`)!.immutable, true)
  }
  t.equal(page.find('/../package.json'), undefined)
  t.equal(page.find('/constructor'), undefined)
})

t.test('A changed file gets another name, and the others keep theirs', async (t) => {
  const page = await Page.of(assetsOf({ 'lib.js': 'export const one = 2\n' }))
  t.equal(page.find(`/${hashed('app.js')}`)!.immutable, true, 'what imports it need not be loaded again')
  t.match(page.find(`/${hashed('lib.js')}`), { immutable: false, asset: { path: 'lib.js' } }, 'a page of another version gets this one')
})

t.test('The page has an import map, before all that it concerns, which its policy allows by its hash', async (t) => {
  const page = await Page.of(assetsOf())
  const text = textAt(page, '/')
  const [, map] = /<script type="importmap">(.*?)<\/script>/.exec(text)!
  t.match(JSON.parse(map!).imports, { '/lib.js': `/${hashed('lib.js')}`, '/view.js': `/${hashed('view.js')}`, '/vendor/big.css': `/${hashed('vendor/big.css')}` })
  t.equal(page.importMapSource, `'sha256-${createHash('sha256').update(map!).digest('base64')}'`)
  t.ok(text.indexOf('importmap') < text.indexOf('modulepreload'))
  t.equal(textAt(page, '/index.html'), text)
  t.equal(page.find('/')!.immutable, false)
})

t.test('Modules are preloaded with what they import: the first one at once, others that the page names less urgently, no library', async (t) => {
  const text = textAt(await Page.of(assetsOf()), '/')
  t.strictSame([...text.matchAll(/<link rel="modulepreload" href="([^"]+)"( fetchpriority="low")?>/g)].map(([, href, low]) => [href, low !== undefined]), [
    [hashed('app.js'), false], [hashed('lib.js'), false], [hashed('view.js'), true], [hashed('part.js'), true]
  ])
  t.match(text, `<script type="module" src="${hashed('app.js')}"></script>`)
})

t.test('With the modules come the words of the language that is asked for, or else those in English', async (t) => {
  const words = { 'words/de.js': 'export default { dir: "ltr" }', 'words/en.js': 'export default {}' }
  const page = await Page.of(assetsOf({ ...words, 'lib.js': "export const words = await import('./words/' + language + '.js')" }))
  t.strictSame(page.languages, ['en', 'de'], 'English is the first')
  const preloaded = (language?: string) => [...page.find('/', language)!.asset.content.toString().matchAll(/"modulepreload" href="words\/(\w+)\.\w{10}\.js">/g)].map(([, name]) => name)
  t.strictSame([preloaded(), preloaded('de'), preloaded('fr')], [['en'], ['de'], ['en']])
  t.not(page.find('/', 'de')!.asset.hash, page.find('/')!.asset.hash, 'a browser keeps neither for the other')
  t.equal(page.find('/lib.js', 'de'), page.find('/lib.js'))
})

t.test('The style sheets are one, in their order; icons and frames name files by their hashes', async (t) => {
  const page = await Page.of(assetsOf())
  const text = textAt(page, '/')
  const sheets = [...text.matchAll(/<link rel="stylesheet" href="([^"]+)">/g)]
  t.equal(sheets.length, 1)
  t.equal(textAt(page, `/${sheets[0]![1]}`), 'a { color: red }\na { color: blue }\n')
  t.equal(text.split(hashed('icon.svg')).length, 3)
  t.match(text, '<a href="#">icon.svg</a>')
  t.equal(textAt(page, '/frame.html'), `<script src="${hashed('vendor/big.js')}"></script>`)
})

t.test('What is not a page is refused, with what is missing', async (t) => {
  await t.rejects(Page.of([]), { message: 'the page has no index.html' })
  await t.rejects(Page.of([new Asset('index.html', Buffer.from('<p>'))]), { message: 'index.html has no module as its script' })
  await t.rejects(Page.of(assetsOf().filter(({ path }) => path !== 'styles/two.css')), { message: 'index.html names styles/two.css, which does not exist' })
  t.throws(() => new Asset('a.exe', Buffer.from('')), { message: 'a.exe: no media type is known for this kind of file' })
  await t.rejects(Page.read({ root: join(t.testdirName, 'missing'), libraries: {} }), { cause: { code: 'ENOENT' } } as { cause: Error & { code: string } })
})
