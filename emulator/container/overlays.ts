import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { OverlayMount } from './setup.js'
import type { Rootfs } from './types.js'

/** Where a root file system is mounted, and where what is written to it goes. */
export interface RootPlace {
  /** The directory of the base `local`. */
  local: string
  /** What is stacked on its /usr. */
  substitutes?: string[]
  /** The mount point. */
  root: string
  /** Existing directories. */
  upper: string
  work: string
}

/** `/` and, for the base `local`, /usr, which needs an overlay of its own because overlays do not cross mounts. */
export async function overlaysOf (
  { base, layers }: Rootfs, { local, substitutes = [], root, upper, work }: RootPlace
): Promise<OverlayMount[]> {
  const lowers = base.kind === 'directory'
    ? { root: [base.path] }
    : { root: [join(local, 'root')], usr: [...substitutes, join(local, 'usr'), '/usr'] }
  return await Promise.all(Object.entries(lowers).map(async ([name, lower]) => {
    const [ownUpper, ownWork] = [join(upper, name), join(work, name)]
    await Promise.all([mkdir(ownUpper), mkdir(ownWork)])
    return {
      path: name === 'root' ? root : `${root}/usr`,
      lower: [...layers.map((layer) => join(layer, name)).toReversed(), ...lower],
      upper: ownUpper,
      work: ownWork
    }
  }))
}
