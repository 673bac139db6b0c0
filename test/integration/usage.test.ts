import { ListObjectsV2Command } from '@aws-sdk/client-s3'
import t from 'tap'
import { noS3, reachableS3 } from '../helpers/reachable-s3.js'
import { s3Settings } from '../helpers/s3.js'
import { live, skip, startService } from '../helpers/service.js'

t.test('What was spent is kept in S3: the next process refuses what no budget is left for', { skip: skip || noS3 }, async (t) => {
  const s3 = await reachableS3(t, { memoryMiB: 64 })
  if (s3 === undefined) return
  t.teardown(s3.close)
  const bucket = await s3.createBucket('usage')
  // No sandbox asks this gateway, so it need not be in Modal's reach.
  const gateway = live && { CLAUDE_KEY_IN_SANDBOX: 'false', PUBLIC_URL: 'https://gateway.invalid' }
  const ask = async () => {
    const service = await startService({ ...s3Settings(s3), ...gateway, USAGE_S3_URL: `s3://${bucket}/of/replicas/` })
    const now = Math.floor(Date.now() / 1000)
    const grant = { sandboxId: 'sb-1', runId: 'run_1', issuedAt: now, expiresAt: now + 60, monthlyBudgetUsd: 0.0001 }
    const token = await service.app.gateway!.open({ accountId: 'An Account', ...grant })
    const json = { model: 'claude-opus-5-5', max_tokens: 10, messages: [{ role: 'user', content: 'hello' }] }
    const response = await fetch(`${service.url}/model/v1/messages`, {
      method: 'POST', headers: { 'x-api-key': token, 'content-type': 'application/json' }, body: JSON.stringify(json)
    })
    const text = await response.text()
    await service.close()
    return [response.status, text]
  }
  t.match(await ask(), [200, /"type":"message"/])
  t.match(await ask(), [400, /billing_error.*monthlyBudgetUsd/])
  const { Contents } = await s3.client.send(new ListObjectsV2Command({ Bucket: bucket }))
  t.match(Contents, [{ Key: /^of\/replicas\/sha256\.\w+\/\d{4}-\d{2}\/replica_\w+\.json$/ }])
})
