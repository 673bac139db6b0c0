import { createConfig, lintFromString } from '@redocly/openapi-core'
import t from 'tap'
import { buildApp } from '../app.js'
import { parseConfig } from '../config.js'

t.test('the description of the API', async (t) => {
  const app = await buildApp(parseConfig({ DATA_DIR: t.testdir(), PORT: '0' }))
  t.teardown(() => app.close())
  const source = (await app.inject('/openapi.json')).body
  const { paths } = JSON.parse(source) as { paths: Record<string, Record<string, any>> }
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ route: `${method} ${path}`, ...operation })))

  await t.test('A linter that knows OpenAPI has nothing to say', async (t) => {
    const config = await createConfig({
      extends: ['recommended'],
      // Errors are described as 4XX and 5XX: which code has which status is in the table of codes.
      rules: { 'info-license': 'off', 'operation-4xx-response': 'off', 'no-server-example.com': 'off' }
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

  await t.test('Streams are described with the data of each event, and files as bodies', async (t) => {
    const streams = operations.filter(({ responses }) => responses['200']?.content?.['text/event-stream'])
    t.strictSame(streams.map(({ operationId }) => operationId).toSorted(),
      ['createSandbox', 'runCommand', 'runPrompt', 'streamEvents', 'syncWorkspace'])
    for (const { operationId, responses } of streams) {
      const { anyOf } = responses['200'].content['text/event-stream'].schema
      t.ok(anyOf.every((event: any) => event.properties.event.const && event.properties.data), operationId)
    }
    const write = operations.find(({ operationId }) => operationId === 'writeFile')
    t.strictSame(Object.keys(write!.requestBody.content), ['application/octet-stream'])
  })
})
