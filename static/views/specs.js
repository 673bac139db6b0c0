import { remembered } from '../lib/remember.js'

/** What a sandbox is made of when nothing is chosen: files and conversations live on a volume. */
const standard = { volume: { name: 'workspace' } }
/** Fields that may hold secrets: they are never stored. */
const unstored = ['env']
const keptSpecs = 20

/** The latest choice in this browser, without what may be secret. */
export function lastSpec () {
  return remembered.read('spec', standard)
}

export function rememberSpec (spec) {
  remembered.write('spec', storable(spec))
}

/** How a sandbox was made, for one that takes its place. */
export function rememberSandbox (id, spec) {
  const kept = remembered.read('made', []).filter((made) => made.id !== id)
  remembered.write('made', [{ id, spec: storable(spec) }, ...kept].slice(0, keptSpecs))
}

/** The request for a sandbox with the same workspace as this one; its name is free by then. */
export function sameWorkspace ({ id, volume, workdir, name, s3 }) {
  const made = remembered.read('made', []).find((one) => one.id === id)
  if (made) return made.spec
  return {
    ...(volume ? { volume: { name: volume.name, mountPath: volume.mountPath } } : {}),
    ...(workdir && volume && workdir !== volume.mountPath && { workdir }),
    ...(name && { name }),
    ...(s3 && { s3: Object.fromEntries(Object.entries(s3).filter(([, value]) => value !== null && value !== '')) })
  }
}

function storable (spec) {
  return Object.fromEntries(Object.entries(spec).filter(([field]) => !unstored.includes(field)))
}
