import { accessSync } from 'node:fs'
import t from 'tap'
import { noBusybox } from '../helpers/busybox.js'
import { noS3, s3Settings, startS3 } from '../helpers/s3.js'
import { accountIds, keys, readSse, skip as notHere, startService } from '../helpers/service.js'
import { digest } from '../../lib/ids.js'

const path = '/api/modal/sandbox'
const skip = notHere || missing() || noBusybox
/** Newer programs of the host ask for what an old gVisor lacks. */
const image = { registry: 'local', dockerfileCommands: ['RUN for name in ls stat; do ln -s "$(command -v busybox)" /usr/local/bin/$name; done'] }

function missing (): string | false {
  try {
    accessSync('/usr/bin/runsc')
    return false
  } catch {
    return 'runsc is not installed'
  }
}

t.test('On gVisor a sandbox is created, works, runs Claude, is synced and ends', { skip }, async (t) => {
  const s3 = noS3 ? undefined : await startS3()
  await s3?.createBucket('work')
  const service = await startService({
    EMULATOR_RUNTIME: 'runsc',
    ...s3 && s3Settings(s3),
    ...s3 && {
      ACCOUNTS: JSON.stringify([{
        id: accountIds.alice, apiKeys: [`sha256:${digest(keys.alice)}`], s3: [{ bucket: 'work', keyPrefix: 'alice/' }]
      }])
    }
  })
  t.teardown(async () => {
    await service.close()
    await s3?.close()
  })
  const request = async (url: string, options: Parameters<typeof service.request>[1] = {}) => {
    const response = await service.request(url, options)
    return { status: response.status, body: await response.json() as any }
  }
  const made = await request(path, {
    method: 'POST',
    json: { image, volume: { name: 'gvisor' }, ...s3 && { s3: { bucket: 'work', keyPrefix: 'alice/' } } }
  })
  if (made.status !== 200) throw new Error(JSON.stringify(made.body))
  const { id } = made.body
  const exec = async (json: object) => (await request(`${path}/${id}/exec`, {
    method: 'POST', json, headers: { accept: 'application/json' }
  })).body

  await t.test('exec, with its input, its exit code and its limit', async (t) => {
    t.match(await exec({ command: ['sh', '-c', 'cat /proc/version; echo err >&2; exit 3'] }), { exitCode: 3, stderr: 'err\n' })
    t.match((await exec({ command: ['cat', '/proc/version'] })).stdout, /Linux version 4\.4\.0/, 'its own kernel')
    t.not((await exec({ command: ['sleep', '100'], timeoutMs: 1000 })).exitCode, 0)
  })

  await t.test('a run of Claude, with a tool', async (t) => {
    const turns = [[{ tool: 'Bash', input: { command: 'echo from-claude > made.txt' } }]]
    const response = await service.request(`${path}/${id}/claude`, {
      method: 'POST', json: { prompt: `Please\n\`\`\`scripted\n${JSON.stringify(turns)}\n\`\`\`` }
    })
    const received = []
    for await (const event of readSse(response)) received.push(event)
    t.match(received.at(-1), { event: 'run.completed', data: { outcome: 'result', exitCode: 0, isError: false } })
    t.equal((await exec({ command: ['cat', '/workspace/made.txt'] })).stdout, 'from-claude\n')
  })

  await t.test('a sync', { skip: noS3 }, async (t) => {
    const { status, body } = await request(`${path}/${id}/sync`, { method: 'POST', json: { direction: 'upload' } })
    t.equal(status, 200, JSON.stringify(body))
    t.match(body, { failed: { length: 0 } })
    t.ok(body.files > 0)
  })

  const ended = await request(`${path}/${id}`, { method: 'DELETE' })
  t.equal(ended.status, 200, JSON.stringify(ended.body))
})
