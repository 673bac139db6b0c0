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

  /**
   * These modules and everything without which they cannot run; what is imported first comes first.
   * @throws Error when one of them does not exist
   */
  closure (...entries: string[]): string[] {
    const missing = entries.find((entry) => !this.#imports.has(entry))
    if (missing !== undefined) throw new Error(`there is no module ${missing}`)
    const found = new Set(entries)
    // A set is walked in the order of insertion, including what is inserted meanwhile.
    for (const path of found) for (const target of this.#imports.get(path)!.now) found.add(target)
    return [...found]
  }
}

function importsOf (path: string, text: string): Imports {
  const [imports] = parse(text, path)
  const targets = (wanted: string[]) => imports
    // A star stands for what is only known when the page runs.
    .filter(({ type, specifier }) => wanted.includes(type) && specifier?.startsWith('.') && !specifier.includes('*'))
    .map(({ specifier }) => posix.join(posix.dirname(path), specifier!))
  return { now: targets(['static', 'reexport-star']), later: targets(['dynamic']) }
}
