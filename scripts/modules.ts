import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const root = fileURLToPath(new URL('..', import.meta.url))
const topFiles = ['server.ts', 'app.ts', 'config.ts', 'errors.ts']
/** What the compiler writes beside the client, and npm. */
const compiled = /^clients\/.*\/(dist|node_modules)\//
const folders = ['plugins', 'routes', 'schemas', 'services', 'lib', 'emulator', 'doctor', 'static', 'clients']

export interface SourceFile { path: string, room: string, text: string }

export interface Module extends SourceFile { imports: Import[] }

export interface Import {
  /** A path of the project, or a package. */
  target: string
  /** Nothing of it is there at run time. */
  typeOnly: boolean
}

/** Every module of the service, the emulator, the page and the client. */
export function readModules (): Module[] {
  return readAll(/\.(ts|js|cjs)$/).map((file) => ({ ...file, imports: importsOf(file.path, file.text) }))
}

/** What runs in a sandbox by a shell or awk. */
export function readScripts (): SourceFile[] {
  return readAll(/\.(sh|awk)$/)
}

function readAll (kind: RegExp): SourceFile[] {
  const paths = folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).sort().map((file) => join(folder, file)))
    .filter((path) => !compiled.test(path))
  return [...topFiles, ...paths].filter((path) => kind.test(path))
    .map((path) => ({ path, room: roomOf(path), text: readFileSync(join(root, path), 'utf8') }))
}

/** The first folder of a path, two in `services/` and three in the layers of its sync; a file at the top is a room. */
export function roomOf (path: string): string {
  const [first, second, third, ...more] = path.split('/')
  if (first !== 'services' || third === undefined) return first!
  return second === 'sync' && more.length > 0 ? `services/sync/${third}` : `services/${second}`
}

/** What a file imports, exports from elsewhere, or imports when it needs it. */
export function importsOf (path: string, text: string): Import[] {
  const found: Import[] = []
  const add = (specifier: ts.Node | undefined, typeOnly: boolean) => {
    if (specifier === undefined || !ts.isStringLiteral(specifier)) return
    found.push({ target: resolveImport(path, specifier.text), typeOnly })
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, node.importClause?.isTypeOnly ?? false)
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly)
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, true)
    else if (ts.isCallExpression(node) && isImport(node.expression)) add(node.arguments[0], false)
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(path, text, ts.ScriptTarget.Latest))
  return found
}

/** `import(...)`, or the `require(...)` of a CommonJS file. */
function isImport (callee: ts.Expression): boolean {
  return callee.kind === ts.SyntaxKind.ImportKeyword || (ts.isIdentifier(callee) && callee.text === 'require')
}

function resolveImport (path: string, specifier: string): string {
  if (!specifier.startsWith('.')) return specifier
  const target = relative(root, resolve(root, dirname(path), specifier))
  return existsSync(join(root, target)) ? target : target.replace(/\.js$/, '.ts')
}

type Imports = Pick<Module, 'path' | 'imports'>[]

/** Groups of files of which each imports all others, by way of others or for their types alone as it may be. */
export function circlesOf (modules: Imports): string[][] {
  return componentsOf(graphOf(modules)).filter((files) => files.length > 1).map((files) => files.sort())
}

/** The longest chain of imports among these files; what is in a circle counts as one. */
export function longestChain (modules: Imports): string[] {
  const graph = graphOf(modules)
  const chains = new Map<string, string[]>()
  const longest = (all: string[][]) => all.reduce((one, other) => other.length > one.length ? other : one, [])
  for (const files of componentsOf(graph)) {
    const below = files.flatMap((file) => graph.get(file)!).filter((file) => !files.includes(file))
    const chain = longest(below.map((file) => chains.get(file)!))
    for (const file of files) chains.set(file, [file, ...chain])
  }
  return longest([...chains.values()])
}

function graphOf (modules: Imports): Map<string, string[]> {
  const paths = new Set(modules.map(({ path }) => path))
  return new Map(modules.map(({ path, imports }) =>
    [path, imports.map(({ target }) => target).filter((target) => paths.has(target))]))
}

/** Tarjan's strongly connected components, what is imported before what imports it. */
function componentsOf (graph: Map<string, string[]>): string[][] {
  const components: string[][] = []
  const index = new Map<string, number>()
  const low = new Map<string, number>()
  const open: string[] = []
  const visit = (file: string): void => {
    const own = index.size
    index.set(file, own)
    low.set(file, own)
    open.push(file)
    for (const target of graph.get(file)!) {
      if (!index.has(target)) visit(target)
      if (open.includes(target)) low.set(file, Math.min(low.get(file)!, low.get(target)!))
    }
    if (low.get(file) === own) components.push(open.splice(open.indexOf(file)))
  }
  for (const file of graph.keys()) if (!index.has(file)) visit(file)
  return components
}
