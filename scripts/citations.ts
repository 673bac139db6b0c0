/** Why a requirement has no test of its own. */
export const reasons: Record<string, string> = {
  8.8: 'a way of working, which no test can see: CONTRIBUTING.md asks for the failing test first'
}

/** The numbers of all requirements, in their order. */
export function requirementsOf (text: string): string[] {
  return [...text.matchAll(/^(\d+\.\d+)\. /gm)].map(([, number]) => number!)
}

/** The names of the tests of a file, with the requirements that each cites: `A name (1.2, 7.1-7.10)`. */
export function citationsOf (source: string): { name: string, cited: string[] }[] {
  return [...source.matchAll(/\btest\(\s*(['"`])((?:\\.|(?!\1)[^\\])*)\1/g)].map(([, , literal]) => {
    const name = literal!.replace(/\\(.)/g, '$1')
    const lists = [...name.matchAll(/\((\d+\.\d+(?:-\d+\.\d+)?(?:, \d+\.\d+(?:-\d+\.\d+)?)*)\)/g)]
    return { name, cited: lists.flatMap(([, list]) => list!.split(', ').flatMap(range)) }
  }).filter(({ cited }) => cited.length > 0)
}

/** `7.8-7.10` is 7.8, 7.9 and 7.10. */
function range (text: string): string[] {
  const [from, to = from] = text.split('-') as [string, string?]
  const [chapter, first] = from.split('.').map(Number) as [number, number]
  const last = Number(to.split('.')[1])
  return Array.from({ length: last - first + 1 }, (_, index) => `${chapter}.${first + index}`)
}
