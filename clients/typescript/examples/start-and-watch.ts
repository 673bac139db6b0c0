// Creates a sandbox, has Claude do something in it, and prints what it says as it says it.
import { ApiError, createClient } from '@modal-sandbox/client'

const { SERVICE_URL = 'http://localhost:3000', SERVICE_KEY } = process.env
const client = createClient({ url: SERVICE_URL, headers: { authorization: `Bearer ${SERVICE_KEY}` } })

try {
  const creating = client.sandboxes.create({ volume: { name: 'examples' } })
  for await (const event of creating) {
    if (event.event === 'step') console.log(`${event.data.step}: ${event.data.status}`)
  }
  const { id } = await creating.result()

  const run = client.runs.start(id, { prompt: process.argv[2] ?? 'Write a haiku about sandboxes into haiku.txt' })
  for await (const { event, data } of run) {
    if (event === 'claude') printText(data)
    if (event === 'gap') console.log(`(bytes ${data.from} to ${data.to} of its log are lost)`)
    if (event === 'run.completed') console.log(`\n${data.outcome}, for ${data.costUsd ?? 'unknown'} US dollars`)
  }
  await client.api.DELETE('/api/modal/sandbox/{id}', { params: { path: { id } } })
} catch (error) {
  if (!(error instanceof ApiError)) throw error
  console.error(`${error.code}: ${error.message} ${error.hint}`)
  process.exitCode = 1
}

/** Pieces of text, of the CLI's own stream-json. */
function printText ({ event }: Record<string, unknown>) {
  const { type, delta } = (event ?? {}) as { type?: string, delta?: { text?: string } }
  if (delta?.text !== undefined) process.stdout.write(delta.text)
  if (type === 'message_stop') process.stdout.write('\n')
}
