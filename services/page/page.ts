import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { wrap } from '../../errors.js'
import { Asset } from './asset.js'
import { ImportGraph } from './imports.js'

const indexPath = 'index.html'
const styleTag = /^ *<link rel="stylesheet" href="([^"]+)">\n/gm
const preloadTag = /^ *<link rel="modulepreload" href="([^"]+)">\n/gm
/** All words of the page in one language, of which a browser needs one. */
const wordsPath = /^words\/(\w+)\.js$/
const scriptTag = /^ *<script type="module" src="([^"]+)"><\/script>\n/m

/** An asset at one of its two addresses. */
export interface Served {
  asset: Asset
  /** The address has the hash of the content in it. */
  immutable: boolean
}

/**
 * The page as browsers get it. What is on disk is what they run, without a build: each file is served as it is, under
 * its own name and under one with its hash, which a browser keeps for good. An import map leads from one to the other.
 * The page itself is changed on the way: it gets that map, one style sheet instead of several, and beside each module
 * that it names a preload for all that this one imports, which a browser would otherwise find one import after another.
 * With these come the words of one language, so that there is a page for each.
 */
export class Page {
  readonly #served: Map<string, Served>
  /** The page itself, by language. */
  readonly #pages: Map<string, Served>
  /** The source for the content security policy that allows the import map. */
  readonly importMapSource: string

  private constructor (served: Map<string, Served>, pages: Map<string, Served>, importMapSource: string) {
    this.#served = served
    this.#pages = pages
    this.importMapSource = importMapSource
  }

  /**
   * Reads the page.
   * @param options.root the directory with `index.html`
   * @param options.libraries files of packages, by their paths in the page
   * @throws AppError when a file is missing or is not what the page needs
   */
  static async read ({ root, libraries }: { root: string, libraries: Record<string, string> }): Promise<Page> {
    try {
      const entries = await readdir(root, { recursive: true, withFileTypes: true })
      const own = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
      const files = { ...Object.fromEntries(own.map((file) => [relative(root, file), file])), ...libraries }
      return await Page.of(await Promise.all(Object.entries(files).map(async ([path, file]) =>
        new Asset(path, await readFile(file)))))
    } catch (error) {
      throw wrap(error, 'page')
    }
  }

  /** @throws Error when the assets are not a page */
  static async of (assets: Asset[]): Promise<Page> {
    const index = assets.find(({ path }) => path === indexPath)
    if (index === undefined) throw new Error(`the page has no ${indexPath}`)
    const others = nameByHashIn(assets.filter((asset) => asset !== index))
    const html = index.content.toString()
    const styles = joinStyles(html, others)
    const asked = others.filter(({ path }) => path.endsWith('.js') || (path.endsWith('.css') && isLibrary(path)))
    const imports = Object.fromEntries(asked.map(({ path, hashedPath }) => [`/${path}`, `/${hashedPath}`]))
    const importMap = JSON.stringify({ imports })
    const { first, then } = await headOf(html, { styles, importMap, others })
    const pageWith = (words?: Asset) => {
      const tags = [...first, ...words === undefined ? [] : [preload(words)], ...then].map((tag) => `  ${tag}\n`).join('')
      const whole = html.replace(styleTag, '').replace(preloadTag, '').replace(scriptTag, () => tags)
      return { asset: new Asset(indexPath, Buffer.from(nameByHash(whole, others))), immutable: false }
    }
    const words = others.filter(({ path }) => wordsPath.test(path))
    const pages = new Map(words.map((asset) => [wordsPath.exec(asset.path)![1]!, pageWith(asset)]))
    const served = new Map<string, Served>()
    for (const asset of others) served.set(`/${asset.path}`, { asset, immutable: false })
    for (const asset of [...others, styles]) served.set(`/${asset.hashedPath}`, { asset, immutable: true })
    for (const path of ['/', `/${indexPath}`]) served.set(path, pages.get('en') ?? pageWith())
    return new Page(served, pages, `'sha256-${createHash('sha256').update(importMap).digest('base64')}'`)
  }

  /** The languages of the page, as `de`; English, which is for everybody else, is the first. */
  get languages (): string[] {
    return ['en', ...[...this.#pages.keys()].filter((language) => language !== 'en')]
  }

  /**
   * What is at the path of a URL, if anything. While replicas are replaced, a page comes from one version and asks
   * another for its files: better this version's file than none.
   * @param language for the page itself, of which the one in English is for everybody else
   */
  find (path: string, language = 'en'): Served | undefined {
    const isPage = path === '/' || path === `/${indexPath}`
    return (isPage ? this.#pages.get(language) : undefined) ?? this.#served.get(path) ?? this.#served.get(path.replace(/\.\w{10}(\.\w+)$/, '$1'))
  }
}

/** The style sheets that the page names, in its order, as one. They import nothing and have no relative URLs. */
function joinStyles (html: string, assets: Asset[]): Asset {
  const sheets = [...html.matchAll(styleTag)].map(([, path]) => assets.find((asset) => asset.path === path) ?? path)
  const missing = sheets.find((sheet) => typeof sheet === 'string')
  if (missing !== undefined) throw new Error(`${indexPath} names ${missing}, which does not exist`)
  return new Asset('styles.css', Buffer.concat(sheets.map((sheet) => (sheet as Asset).content)))
}

/** Whatever else the page names, such as its icon. */
function nameByHash (html: string, assets: Asset[]): string {
  const paths = new Map(assets.map(({ path, hashedPath }) => [path, hashedPath]))
  return html.replace(/ (href|src)="([^"]+)"/g, (whole, attribute, path) =>
    paths.has(path) ? ` ${attribute}="${paths.get(path)}"` : whole)
}

/** The documents that the page has in frames, and everything else. */
function nameByHashIn (assets: Asset[]): Asset[] {
  return assets.map((asset) => asset.path.endsWith('.html')
    ? new Asset(asset.path, Buffer.from(nameByHash(asset.content.toString(), assets)))
    : asset)
}

/**
 * Libraries are heavy, and many a conversation needs none: they are loaded when they are needed. Each is a single file
 * that imports nothing.
 */
const isLibrary = (path: string) => path.startsWith('vendor/')

const preload = (module: Asset) => `<link rel="modulepreload" href="${module.hashedPath}">`

/**
 * The tags for the head of the page, in two parts: what else is to be preloaded comes between them. An import map must
 * come before all that it concerns.
 */
async function headOf (
  html: string, { styles, importMap, others }: { styles: Asset, importMap: string, others: Asset[] }
): Promise<{ first: string[], then: string[] }> {
  const entry = scriptTag.exec(html)?.[1]
  if (entry === undefined) throw new Error(`${indexPath} has no module as its script`)
  const modules = new Map(others.filter(({ path }) => path.endsWith('.js')).map((asset) => [asset.path, asset]))
  const texts = [...modules.values()].map(({ path, content }) => ({ path, text: isLibrary(path) ? '' : content.toString() }))
  const graph = await ImportGraph.of(texts)
  const url = (path: string) => modules.get(path)!.hashedPath
  const needed = graph.closure(entry)
  // One after another: what belongs to several views comes with the first of them.
  const next = [...new Set([...html.matchAll(preloadTag)].flatMap(([, path]) => graph.closure(path!)))]
    .filter((path) => !needed.includes(path) && !isLibrary(path))
  return {
    first: [
      `<link rel="stylesheet" href="${styles.hashedPath}">`,
      `<script type="importmap">${importMap}</script>`,
      ...needed.map((path) => preload(modules.get(path)!))
    ],
    then: [
      ...next.map((path) => `<link rel="modulepreload" href="${url(path)}" fetchpriority="low">`),
      `<script type="module" src="${url(entry)}"></script>`
    ]
  }
}
