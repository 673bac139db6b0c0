import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { ObjectStoreOptions } from '../../services/sync/s3/connection.js'
import { ObjectStore } from '../../services/sync/s3/object-store.js'
import { startS3 } from './s3.js'

type StoreOptions = Partial<Omit<ObjectStoreOptions, 'prefix'>> & { Store?: typeof ObjectStore }

/** A real S3 server with a bucket, stores in it, and a folder for workspaces: all is gone after the test. */
export async function openSyncStage (t: Test, bucket = 'bucket') {
  const s3 = await startS3()
  await s3.createBucket(bucket)
  const root = await mkdtemp(join(tmpdir(), 'sync-stage-'))
  const stores: ObjectStore[] = []
  t.teardown(async () => {
    for (const store of stores) store.close()
    await s3.close()
    await rm(root, { recursive: true, force: true })
  })
  const credentials = { get: async () => s3, renew () {} }
  const storeAt = (prefix: string, { Store = ObjectStore, ...options }: StoreOptions = {}) => {
    const { region, endpoint } = s3
    const store = new Store({ bucket, prefix, region, endpoint, forcePathStyle: true, credentials, ...options })
    stores.push(store)
    return store
  }
  return { s3, root, storeAt }
}
