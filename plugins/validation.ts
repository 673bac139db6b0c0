import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv'
import formats from 'ajv-formats'
import fp from 'fastify-plugin'

/**
 * Bodies are taken literally: nothing is converted and nothing unknown is dropped, so that a typo is told.
 * Queries, params and headers arrive as text and are converted.
 */
export default fp(async (fastify) => {
  const options = { useDefaults: true, removeAdditional: false, allErrors: false } as const
  const body = formats.default(new Ajv({ ...options, coerceTypes: false }))
  const text = formats.default(new Ajv({ ...options, coerceTypes: 'array' }))
  // Compiled when first asked: the service is up sooner, and most processes never see most routes.
  fastify.setValidatorCompiler(({ schema, httpPart }) => {
    let validate: ValidateFunction | undefined
    return (data: unknown) => {
      validate ??= (httpPart === 'body' ? body : text).compile(schema as object)
      return validate(data) ? { value: data } : { error: validate.errors! }
    }
  })
  // Clients that always say they send JSON also say so when they send nothing.
  const parse = fastify.getDefaultJsonParser('error', 'error')
  fastify.addContentTypeParser<string>('application/json', { parseAs: 'string' }, (request, text, done) => {
    if (text === '') done(null)
    else parse(request, text, done)
  })
  fastify.setSchemaErrorFormatter((errors, part) => new Error(explain(errors[0] as ErrorObject, part)))
}, { name: 'validation', fastify: '5.x' })

/** Ajv's text, with the field's name in front: `body.image.registry must be string`. */
function explain ({ keyword, instancePath, params, message }: ErrorObject, part: string): string {
  const at = `${part}${instancePath.replaceAll('/', '.')}`
  if (keyword === 'additionalProperties') return `${at}.${params.additionalProperty} is not a known field`
  if (keyword === 'required') return `${at}.${params.missingProperty} is required`
  if (keyword === 'enum') return `${at} must be one of ${params.allowedValues.join(', ')}`
  return `${at} ${message}`
}
