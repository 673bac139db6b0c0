import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv'
import formats from 'ajv-formats'
import fp from 'fastify-plugin'

/**
 * Bodies are taken literally: values are not coerced and unknown fields are not dropped, so that a typo is reported.
 * Queries, params and headers arrive as text and are coerced.
 */
export default fp(async (fastify) => {
  // With `verbose`, errors have the rule that they are about.
  const options = {
    useDefaults: true, removeAdditional: false, allErrors: false, verbose: true, discriminator: true
  } as const
  const body = formats.default(new Ajv({ ...options, coerceTypes: false }))
  const text = formats.default(new Ajv({ ...options, coerceTypes: 'array' }))
  // Compiled on first use: the service starts sooner, and most processes never serve most routes.
  fastify.setValidatorCompiler(({ schema, httpPart }) => {
    let validate: ValidateFunction | undefined
    return (data: unknown) => {
      validate ??= (httpPart === 'body' ? body : text).compile(schema as object)
      if (validate(data)) return { value: data }
      // Values may be secret, and errors are logged.
      return { error: validate.errors!.map(({ data, schema, ...error }) => error) }
    }
  })
  // Some clients always send a JSON content type, even without a body.
  const parse = fastify.getDefaultJsonParser('error', 'error')
  fastify.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (request, text, done) => {
    if (text === '') done(null)
    else parse(request, text, done)
  })
  fastify.setSchemaErrorFormatter((errors, part) => {
    const { field, problem } = describe(errors as ErrorObject[], part)
    return Object.assign(new Error(`${field} ${problem}`), { field })
  })
}, { name: 'validation', fastify: '5.x' })

/** The field, such as `body.image.registry`, and what is wrong with it: Ajv's `must be string`. */
function describe (errors: ErrorObject[], part: string): { field: string, problem: string } {
  const { keyword, instancePath, params, message, parentSchema } = mostSpecific(errors)
  const at = `${part}${instancePath.replaceAll('/', '.')}`
  if (keyword === 'additionalProperties') {
    const [pattern] = Object.keys(parentSchema?.patternProperties ?? {})
    const rule = pattern === undefined ? 'is not a known field' : `is not an allowed name: it must match ${pattern}`
    return { field: `${at}.${params.additionalProperty}`, problem: rule }
  }
  if (keyword === 'required') return { field: `${at}.${params.missingProperty}`, problem: 'is required' }
  if (keyword === 'enum') return { field: at, problem: `must be one of ${params.allowedValues.join(', ')}` }
  // A union of literals is a `const` for each of them.
  if (keyword === 'const') {
    const same = errors.filter((error) => error.keyword === 'const' && error.instancePath === instancePath)
    const values = same.map(({ params }) => params.allowedValue).join(', ')
    return { field: at, problem: `must be ${same.length > 1 ? 'one of ' : ''}${values}` }
  }
  if (keyword === 'discriminator') return { field: `${at}.${params.tag}`, problem: 'is not one of those that are known' }
  return { field: at, problem: message! }
}

/** Of a union's errors, one for each form, that of the form which was meant: wrong only further inside. */
function mostSpecific (errors: ErrorObject[]): ErrorObject {
  const depth = ({ instancePath }: ErrorObject) => instancePath.split('/').length
  const deepest = Math.max(...errors.map(depth))
  const candidates = errors.filter((error) => depth(error) === deepest)
  return candidates.find(({ keyword }) => keyword !== 'type' && keyword !== 'anyOf') ?? candidates[0]!
}
