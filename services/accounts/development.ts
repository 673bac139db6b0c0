import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Value } from '@sinclair/typebox/value'
import { digest, randomId } from '../../lib/ids.js'
import { Account } from '../../schemas/account.js'

/**
 * The account of local mode when none is configured. Its key is made on first start and kept in the data directory
 * (readable by its owner only), so that curl examples keep working after a restart.
 */
export async function developmentAccount (dataDir: string): Promise<{ account: Account, apiKey: string }> {
  const file = join(dataDir, 'development-key')
  await mkdir(dataDir, { recursive: true })
  await writeFile(file, randomId('key'), { mode: 0o600, flag: 'wx' }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  const apiKey = (await readFile(file, 'utf8')).trim()
  const account = Value.Default(Account, {
    id: 'development',
    apiKeys: [`sha256:${digest(apiKey)}`],
    secrets: ['*'],
    s3: [{ bucket: '*' }, { bucket: '*', secretName: '*', endpointUrl: '*' }]
  }) as Account
  return { account, apiKey }
}
