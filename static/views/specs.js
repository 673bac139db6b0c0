import { browserStorage } from '../lib/storage.js'

/** The options when none are chosen: files and conversations are kept on a volume. */
const defaultSpec = { volume: { name: 'workspace' } }
/** Fields that may hold secrets are never stored. */
const secretFields = ['env']
const maxRememberedSpecs = 20

/** The last options used in this browser, without secrets. */
export function lastSpec () {
  return browserStorage.read('spec', defaultSpec)
}

export function rememberSpec (spec) {
  browserStorage.write('spec', withoutSecrets(spec))
}

/** Remembers the options of a sandbox, for one that replaces it. */
export function rememberSandbox (id, spec) {
  const others = browserStorage.read('made', []).filter((entry) => entry.id !== id)
  browserStorage.write('made', [{ id, spec: withoutSecrets(spec) }, ...others].slice(0, maxRememberedSpecs))
}

/** The options for a sandbox that replaces this one, with the same workspace and name. */
export function sameWorkspace ({ id, volume, workdir, name, s3 }) {
  const made = browserStorage.read('made', []).find((entry) => entry.id === id)
  if (made) return made.spec
  return {
    ...(volume ? { volume: given(volume) } : {}),
    ...(workdir && volume && workdir !== volume.mountPath && { workdir }),
    ...(name && { name }),
    ...(s3 && { s3: given(s3) })
  }
}

function given (fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== ''))
}

function withoutSecrets (spec) {
  return Object.fromEntries(Object.entries(spec).filter(([field]) => !secretFields.includes(field)))
}
