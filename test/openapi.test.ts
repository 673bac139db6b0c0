import { createConfig, lintFromString } from '@redocly/openapi-core'
import t from 'tap'
import { startService } from './helpers/service.js'

t.test('the description of the API', async (t) => {
  const service = await startService()
  t.teardown(() => service.close())
  const source = await (await service.request('/openapi.json')).text()
  const { paths, components } = JSON.parse(source) as { paths: Record<string, Record<string, any>>, components: any }
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ route: `${method} ${path}`, ...operation })))

  await t.test('A linter that knows OpenAPI has nothing to say', async (t) => {
    const config = await createConfig({
      extends: ['recommended'],
      rules: {
        'info-license': 'off',
        // Some routes can fail in no way of the client's.
        'operation-4xx-response': 'off',
        // A WebSocket's is 101.
        'operation-2xx-response': 'off',
        // The fixed one goes first: no sandbox is called "creations".
        'no-ambiguous-paths': 'off'
      }
    })
    const problems = await lintFromString({ source, config })
    t.strictSame(problems.map(({ ruleId, message, location }) =>
      `${ruleId}: ${message} ${location.map((place) => 'pointer' in place ? place.pointer : '').join()}`), [])
  })

  await t.test('Every operation has a name of its own that reads as a method, and a summary', async (t) => {
    const names = operations.map(({ operationId }) => operationId)
    t.equal(new Set(names).size, names.length)
    for (const { route, operationId, summary, tags } of operations) {
      t.match(operationId, /^[a-z]+[A-Z]\w+$|^sign(In|Out)$/, route)
      t.ok(summary?.length > 5 && tags?.length === 1, route)
    }
  })

  await t.test('Each route says with which codes it may fail, by status, and what the body then is', async (t) => {
    const codes = new Set<string>(components.schemas.Error.properties.code.enum)
    for (const { operationId, responses } of operations) {
      t.notOk('4XX' in responses || '5XX' in responses, operationId)
      for (const [status, { content }] of Object.entries<any>(responses).filter(([status]) => Number(status) >= 400)) {
        const { schema, examples } = content['application/json']
        t.strictSame(Object.keys(examples), schema.properties.code.enum, operationId)
        for (const code of schema.properties.code.enum) {
          t.match(components.examples[code].value, { code, statusCode: Number(status), message: /./, hint: /./ })
          t.ok(codes.has(code))
        }
      }
    }
    const codesOf = (id: string, status: number) => operations.find(({ operationId }) => operationId === id)!
      .responses[status].content['application/json'].schema.properties.code.enum
    t.strictSame(codesOf('getCreation', 404), ['CREATION_NOT_FOUND'])
    t.ok(codesOf('runPrompt', 409).includes('RUN_ACTIVE') && !codesOf('runCommand', 409).includes('RUN_ACTIVE'))
  })

  await t.test('Streams are described with the data of each event, and files as bodies', async (t) => {
    const streams = operations.filter(({ responses }) => responses['200']?.content?.['text/event-stream'])
    t.strictSame(streams.map(({ operationId }) => operationId).toSorted(),
      ['createSandbox', 'getSandbox', 'runCommand', 'runPrompt', 'streamEvents', 'syncWorkspace'])
    for (const { operationId, responses } of streams) {
      const { anyOf } = responses['200'].content['text/event-stream'].schema
      t.ok(anyOf.every((event: any) => event.properties.event.enum.length === 1 && event.properties.data), operationId)
    }
    const write = operations.find(({ operationId }) => operationId === 'writeFile')
    t.strictSame(Object.keys(write!.requestBody.content), ['application/octet-stream'])
  })
})
