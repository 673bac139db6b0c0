// Starts a run without waiting for it, forgets about it, and reads later, from any process, all that has happened.
import { createClient, unwrap } from '@modal-sandbox/client'

const { SERVICE_URL = 'http://localhost:3000', SERVICE_KEY } = process.env
const client = createClient({ url: SERVICE_URL, headers: { authorization: `Bearer ${SERVICE_KEY}` } })

const { id } = await client.sandboxes.create().result()
// With `continue` it needs no reader to go on.
const prompt = process.argv[2] ?? 'Write a haiku about sandboxes into haiku.txt'
const { runId } = await client.runs.submit(id, { prompt, onDisconnect: 'continue' })
console.log(`${runId} was started`)

// What you store is the id of the last event you have dealt with. Here the reader leaves after the third one ...
let lastEventId: string | undefined
let events = 0
for await (const event of client.runs.stream(id, runId)) {
  lastEventId = event.id
  if (++events === 3) break
}
// ... and another one goes on behind it: nothing is read twice, and nothing is missed.
const rest = client.runs.stream(id, runId, lastEventId === undefined ? {} : { lastEventId })
for await (const { id } of rest) {
  lastEventId = id
  events++
}
const { outcome } = await rest.result()
console.log(`${outcome}, after ${events} events`)
await unwrap(client.api.DELETE('/api/modal/sandbox/{id}', { params: { path: { id } } }))
