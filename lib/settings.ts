import { isIP } from 'node:net'
import { type Static, type TObject, type TSchema } from '@sinclair/typebox'
import { Value, type ValueError } from '@sinclair/typebox/value'

/** Reports one invalid setting: its name and what is wrong with it, never its value. */
export type ReportProblem = (name: string, text: string) => void

/** Reads the variables of a schema: empty counts as not set, strings are converted, defaults are filled in. */
export function readVariables<T extends TObject> (
  schema: T, variables: Record<string, string | undefined>, problem: ReportProblem
): Static<T> {
  const present = Object.keys(schema.properties)
    .map((name) => [name, variables[name]?.trim()])
    .filter(([, value]) => value !== undefined && value !== '')
  return read(schema, Value.Convert(schema, Object.fromEntries(present)), problem,
    (error) => error.path.split('/')[1] ?? '')
}

/** Reads one variable that holds JSON. */
export function readJson<T extends TSchema> (
  name: string, source: string | undefined, schema: T, problem: ReportProblem
): Static<T> | undefined {
  if (source === undefined) return
  let parsed: unknown
  try {
    parsed = JSON.parse(source)
  } catch {
    return problem(name, 'is not valid JSON') as undefined
  }
  return read(schema, parsed, problem, (error) => error.path === '' ? name : `${name}${error.path}`)
}

/** Whether a text is an address, a network such as `10.0.0.0/8`, or `loopback`. */
export function isNetwork (text: string): boolean {
  if (text.trim() === 'loopback') return true
  const [address, prefix = '0'] = text.trim().split('/') as [string, string?]
  const longest = { 0: -1, 4: 32, 6: 128 }[isIP(address)]!
  return /^\d+$/.test(prefix) && Number(prefix) <= longest
}

function read (schema: TSchema, value: unknown, problem: ReportProblem, nameOf: (error: ValueError) => string) {
  const complete = Value.Default(schema, value)
  const named = new Set<string>()
  for (const error of Value.Errors(schema, complete)) {
    const name = nameOf(error)
    if (named.has(name)) continue
    named.add(name)
    problem(name, expectationOf(error))
  }
  return complete as never
}

/** What the schema expects. TypeBox's own message lists neither choices nor limits. */
function expectationOf ({ schema, message }: ValueError): string {
  if (schema.anyOf) return `must be one of ${schema.anyOf.map((choice: TSchema) => choice.const).join(', ')}`
  if (schema.multipleOf) {
    return `must be a multiple of ${schema.multipleOf} from ${schema.minimum} to ${schema.maximum}`
  }
  if (schema.pattern?.startsWith('^https?')) return 'must be an http or https URL'
  if (schema.pattern) return `must look like ${schema.pattern}`
  return `is not valid: ${message.toLowerCase()}`
}
