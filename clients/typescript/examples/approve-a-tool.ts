// Claude asks before each tool that changes something; this program allows what only writes files, and nothing else.
import { createClient, unwrap } from '@modal-sandbox/client'

const { SERVICE_URL = 'http://localhost:3000', SERVICE_KEY } = process.env
const client = createClient({ url: SERVICE_URL, headers: { authorization: `Bearer ${SERVICE_KEY}` } })
const harmless = ['Write', 'Edit']

const { id } = await client.sandboxes.create().result()
let runId = ''
const prompt = process.argv[2] ?? 'Write a haiku about sandboxes into haiku.txt'
for await (const { event, data } of client.runs.start(id, { prompt, permissionMode: 'ask' })) {
  if (event === 'run.started') runId = data.runId
  if (event === 'permission.requested') {
    const allowed = data.kind === 'tool' && harmless.includes(data.toolName)
    console.log(`${data.toolName}: ${allowed ? 'allowed' : 'denied'}`)
    await unwrap(client.api.POST('/api/modal/sandbox/{id}/claude/{runId}/permissions/{permissionId}', {
      params: { path: { id, runId, permissionId: data.id } },
      body: allowed ? { decision: 'allow', remember: 'run' } : { decision: 'deny', message: 'Only files, please.' }
    }))
  }
  if (event === 'run.completed') console.log(data.outcome)
}
await unwrap(client.api.DELETE('/api/modal/sandbox/{id}', { params: { path: { id } } }))
