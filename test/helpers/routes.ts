import type { FastifyInstance } from 'fastify'

/** Every route of an app as `METHOD /path`, read from its own router: nobody has to remember to list one. */
export function routesOf (app: Pick<FastifyInstance, 'printRoutes'>): string[] {
  const above: string[] = []
  const routes = new Set<string>()
  for (const line of app.printRoutes({ commonPrefix: false }).split('\n')) {
    const [, indent, part, methods] = /^([│├└─ ]*)(\S+)(?: \(([A-Z, ]+)\))?$/.exec(line) ?? []
    if (part === undefined) continue
    const depth = indent!.length / 4
    const path = (above[depth - 1] ?? '') + part
    above[depth] = path
    for (const method of methods?.split(', ') ?? []) {
      if (method !== 'HEAD') routes.add(`${method} ${path.replace(/(?<=.)\/$/, '')}`)
    }
  }
  return [...routes]
}
