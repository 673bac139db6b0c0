/** Objects of the sync's own, below the prefix: manifests, packs, and what versions keep. */
export const reserved = '.modal-sandbox/'
export const manifestKey = `${reserved}manifest.gz`
/** What a file in the workspace is called until all of it was fetched. */
export const partPrefix = '.modal-sandbox-part-'
export const versionsPrefix = `${reserved}versions/`

const packsPrefix = `${reserved}packs/`

/** Where the contents of many small files are, besides their own objects. @param hash SHA-256 of all of it. */
export function packKey (hash: string): string {
  return packsPrefix + hash
}

/** The hash of the pack that has that key. */
export function packOf (key: string): string | undefined {
  return key.startsWith(packsPrefix) ? /^[0-9a-f]{64}$/.exec(key.slice(packsPrefix.length))?.[0] : undefined
}

/** Left by a download that was ended in the middle: nobody needs it. */
export function isPart (path: string): boolean {
  return path.slice(path.lastIndexOf('/') + 1).startsWith(partPrefix)
}

/** The manifest of one save of a versioned workspace. */
export function versionKey (version: string): string {
  return `${versionsPrefix}${version}.gz`
}

/** The save whose manifest has that key. */
export function versionOf (key: string): string | undefined {
  return /^(\d{8}T\d{9}Z-[0-9a-f]{4})\.gz$/.exec(key.startsWith(versionsPrefix) ? key.slice(versionsPrefix.length) : '')?.[1]
}

/** A name for a save that sorts by time. */
export function newVersion (now: Date): string {
  const random = Math.floor(Math.random() * 0x10000).toString(16).padStart(4, '0')
  return `${now.toISOString().replace(/[-:.]/g, '')}-${random}`
}

export function savedAtOf (version: string): string {
  return version.replace(/^(....)(..)(..)T(..)(..)(..)(...)Z-.*$/, '$1-$2-$3T$4:$5:$6.$7Z')
}

const longestKey = 1024
const longestName = 255

/** Why S3 can't carry a path of the workspace under a prefix; undefined when it can. */
export function pathProblem (path: string, prefix: string): { code: string, message: string } | undefined {
  if (`${path}/`.startsWith(reserved)) return { code: 'NAME_RESERVED', message: `Names under ${reserved} are the sync's own.` }
  if (Buffer.byteLength(prefix + path) + 1 > longestKey) {
    return { code: 'NAME_TOO_LONG', message: `With the prefix the path has more than ${longestKey} bytes.` }
  }
  // XML has no form for them, so no server can list such a key; tab and line breaks it has.
  // eslint-disable-next-line no-control-regex
  if (/[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]/.test(path)) {
    return { code: 'NAME_NOT_CARRIED', message: 'S3 can not carry a name with control characters.' }
  }
}

/**
 * Why a key below the prefix can't be a path of the workspace; undefined when it can. A key is anybody's text: it must
 * not lead out of the workspace, nor stand for a path that another key has.
 */
export function keyProblem (key: string): { code: string, message: string } | undefined {
  const path = withoutSlash(key)
  if (/(?:^|\/)\.{0,2}(?:\/|$)|\0/.test(path)) {
    return { code: 'KEY_UNSAFE', message: 'The key is no path inside of a workspace.' }
  }
  if (Buffer.byteLength(path) > longestName && path.split('/').some((name) => Buffer.byteLength(name) > longestName)) {
    return { code: 'NAME_TOO_LONG', message: `A name has more than ${longestName} bytes.` }
  }
}

/** Without the slash that ends the key of a directory. */
export function withoutSlash (key: string): string {
  return key.endsWith('/') ? key.slice(0, -1) : key
}

/** All directories on the way to some paths. */
export function parentsOf (paths: Iterable<string>): Set<string> {
  const parents = new Set<string>()
  for (const path of paths) {
    for (let end = path.lastIndexOf('/'); end > 0; end = path.lastIndexOf('/', end - 1)) {
      const parent = path.slice(0, end)
      if (parents.has(parent)) break
      parents.add(parent)
    }
  }
  return parents
}
