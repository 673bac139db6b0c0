import type { SyncVersion } from '../../schemas/sync.js'
import { savedAtOf, versionOf, versionsPrefix } from './s3/keys.js'
import type { ObjectStore } from './s3/object-store.js'

/** The saves that are kept, newest first. @throws {S3Error} */
export async function listVersions (store: ObjectStore): Promise<SyncVersion[]> {
  const found: SyncVersion[] = []
  for await (const page of store.list(versionsPrefix)) {
    for (const { key } of page) {
      const version = versionOf(key)
      if (version !== undefined) found.push({ version, savedAt: savedAtOf(version) })
    }
  }
  return found.toReversed()
}
