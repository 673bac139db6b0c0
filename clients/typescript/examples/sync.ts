// Keeps a workspace in S3: makes a file, uploads it with progress, and shows what a command in the sandbox says.
import { ApiError, createClient, unwrap } from '@modal-sandbox/client'

const { SERVICE_URL = 'http://localhost:3000', SERVICE_KEY, BUCKET = 'work' } = process.env
const client = createClient({ url: SERVICE_URL, headers: { authorization: `Bearer ${SERVICE_KEY}` } })

const { id } = await client.sandboxes.create({ s3: { bucket: BUCKET, keyPrefix: 'examples' } }).result()
try {
  for await (const { event, data } of client.sandboxes.exec(id, { command: ['sh', '-c', 'date > date.txt; ls -l'] })) {
    if (event === 'stdout') process.stdout.write(data.text ?? '')
    if (event === 'exit') console.log(`exit code ${data.exitCode}`)
  }
  const uploading = client.sandboxes.sync(id, { direction: 'upload' })
  for await (const { event, data } of uploading) {
    if (event === 'progress') console.log(`${data.phase}: ${data.files} of ${data.totalFiles} files`)
  }
  const { files, verified, skipped } = await uploading.result()
  console.log(`${files} copied and ${verified} verified, ${skipped} were there already`)
} catch (error) {
  if (!(error instanceof ApiError && error.code === 'SYNC_INCOMPLETE')) throw error
  // Some errors have more to say than others: here it is the report, with the names of what could not be copied.
  console.error(error.message, error.details['report'])
  process.exitCode = 1
} finally {
  await unwrap(client.api.DELETE('/api/modal/sandbox/{id}', { params: { path: { id }, query: { sync: false } } }))
}
