import { posix } from 'node:path'
import { init, parse } from 'es-module-lexer'

/** What a module imports: at once, and when it needs it. As paths from the root of the page. */
interface Imports { now: string[], later: string[] }

/** The modules of a page and what they import. */
export class ImportGraph {
  readonly #imports: Map<string, Imports>

  private constructor (imports: Map<string, Imports>) {
    this.#imports = imports
  }

  /** @throws Error when a module cannot be parsed, or imports one that does not exist */
  static async of (modules: { path: string, text: string }[]): Promise<ImportGraph> {
    await init()
    const graph = new ImportGraph(new Map(modules.map(({ path, text }) => [path, importsOf(path, text)])))
    for (const [path, { now, later }] of graph.#imports) {
      const missing = [...now, ...later].find((target) => !graph.#imports.has(target))
      if (missing !== undefined) throw new Error(`${path} imports ${missing}, which does not exist`)
    }
    return graph
  }

  /** The module and everything without which it cannot run; what is imported first comes first. */
  closure (entry: string): string[] {
    const found = new Set([entry])
    // A set is walked in the order of insertion, including what is inserted meanwhile.
    for (const path of found) for (const target of this.#imports.get(path)!.now) found.add(target)
    return [...found]
  }

  /** All that may follow the closure: what is imported when it is needed, in the order in which it is named. */
  later (entry: string, found = new Set<string>()): string[] {
    const needed = this.closure(entry).filter((path) => !found.has(path))
    for (const path of needed) found.add(path)
    const later = needed.flatMap((path) => this.#imports.get(path)!.later)
      .flatMap((target) => [...this.closure(target).filter((path) => !found.has(path)), ...this.later(target, found)])
    return [...new Set(later)]
  }
}

function importsOf (path: string, text: string): Imports {
  const [imports] = parse(text, path)
  const targets = (wanted: string[]) => imports
    .filter(({ type, specifier }) => wanted.includes(type) && specifier?.startsWith('.'))
    .map(({ specifier }) => posix.join(posix.dirname(path), specifier!))
  return { now: targets(['static', 'reexport-star']), later: targets(['dynamic']) }
}
