import { join } from 'node:path'
import { removeTree } from '../container/host.js'
import { Changes } from './changes.js'
import { commitError } from './commit-error.js'
import type { VolumeStore } from './store.js'

/** Commits what was set aside when an emulator ended. @throws {Error} when there is still no space for it */
export async function recover (store: VolumeStore, volumeId: string): Promise<void> {
  for (const { upper, subPath } of await store.aside(volumeId)) {
    const changes = new Changes(upper)
    const found = await changes.find()
    const current = await store.acquire(volumeId)
    try {
      if (found !== undefined) {
        await store.commit(volumeId, async (state, scratch) => {
          const [base, target] = [join(current, subPath), join(state, subPath)]
          const trees = { base, merged: undefined, target, scratch, link: true, plain: store.plain }
          const { failures } = await changes.apply(found, trees)
          if (failures.length > 0) throw commitError([{ path: subPath, failures }], 'so it is not mounted')
        })
      }
    } finally {
      store.release(current)
    }
    await removeTree(upper)
  }
}
