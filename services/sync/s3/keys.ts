/** Where the sync keeps its own objects, below the prefix: manifests, packs and what versions need. */
export const reserved = '.modal-sandbox/'
export const manifestKey = `${reserved}manifest.gz`
/** The name of a file in the workspace until all of it is there begins so. */
export const partPrefix = '.modal-sandbox-part-'
export const versionsPrefix = `${reserved}versions/`

const packsPrefix = `${reserved}packs/`
const sessionsPrefix = `${reserved}sessions/`

/** The key of a pack, which has the contents of many small files. @param hash SHA-256 of the pack. */
export function packKey (hash: string): string {
  return `${packsPrefix}${hash}.pack`
}

/** The hash of the pack that has that key. */
export function packOf (key: string): string | undefined {
  return key.startsWith(packsPrefix) ? /^([0-9a-f]{64})\.pack$/.exec(key.slice(packsPrefix.length))?.[1] : undefined
}

/** Whether it is the key of a pack of an earlier format, with enciphered contents: nothing reads it any more. */
export function isObsoletePack (key: string): boolean {
  return key.startsWith(packsPrefix) && /^[0-9a-f]{64}$/.test(key.slice(packsPrefix.length))
}

/** The key of what a session has seen of the prefix. @param sandboxId names the session. */
export function sessionKey (sandboxId: string): string {
  return `${sessionsPrefix}${sandboxId}.gz`
}

/** The session whose base has that key. */
export function sessionOf (key: string): string | undefined {
  return key.startsWith(sessionsPrefix) ? /^([\w-]+)\.gz$/.exec(key.slice(sessionsPrefix.length))?.[1] : undefined
}

/** Whether a download that was interrupted has left the file. */
export function isPart (path: string): boolean {
  return path.slice(path.lastIndexOf('/') + 1).startsWith(partPrefix)
}

/** The key of the manifest of one save of a versioned workspace. */
export function versionKey (version: string): string {
  return `${versionsPrefix}${version}.gz`
}

/** The save whose manifest has that key. */
export function versionOf (key: string): string | undefined {
  return /^(\d{8}T\d{9}Z-[0-9a-f]{4})\.gz$/.exec(key.startsWith(versionsPrefix) ? key.slice(versionsPrefix.length) : '')?.[1]
}

/** The save that has stored an object below `saves/`. */
export function versionOfSave (key: string): string {
  return key.split('/')[2] ?? ''
}

/** A name for a save; names sort by time. */
export function newVersion (now: Date): string {
  const random = Math.floor(Math.random() * 0x10000).toString(16).padStart(4, '0')
  return `${now.toISOString().replace(/[-:.]/g, '')}-${random}`
}

export function savedAtOf (version: string): string {
  return version.replace(/^(....)(..)(..)T(..)(..)(..)(...)Z-.*$/, '$1-$2-$3T$4:$5:$6.$7Z')
}

export const maxKeyBytes = 1024
/** Of a file system. */
export const maxNameBytes = 255
/** What to do about an object that a workspace cannot have. */
export const remedy = 'rename it or name it in .syncignore.'

/** Empty, `.` and `..` among its parts, or NUL. */
const unsafe = /(?:^|\/)\.{0,2}(?:\/|$)|\0/

/** Why a path of the workspace cannot be a key under a prefix; undefined when it can. */
export function pathProblem (path: string, prefix: string): { code: string, message: string } | undefined {
  // A listing that a sandbox has forged: whatever normalizes keys would see another prefix.
  if (unsafe.test(withoutSlash(path))) return { code: 'NAME_NOT_CARRIED', message: 'It is not a path inside a workspace.' }
  if (`${path}/`.startsWith(reserved)) return { code: 'NAME_RESERVED', message: `Names under ${reserved} are reserved for the sync.` }
  if (Buffer.byteLength(prefix + path) + 1 > maxKeyBytes) {
    return { code: 'NAME_TOO_LONG', message: `With the prefix the path has more than ${maxKeyBytes} bytes.` }
  }
  // XML cannot express them, so no server can list such a key. Tabs and line breaks it can.
  // eslint-disable-next-line no-control-regex
  if (/[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]/.test(path)) {
    return { code: 'NAME_NOT_CARRIED', message: 'S3 cannot carry a name with control characters.' }
  }
}

/**
 * Why a key below the prefix cannot be a path of the workspace; undefined when it can. Keys are untrusted input: none
 * may lead out of the workspace, and no two may stand for the same path.
 */
export function keyProblem (key: string): { code: string, message: string } | undefined {
  const path = withoutSlash(key)
  if (unsafe.test(path)) {
    return { code: 'KEY_UNSAFE', message: `The key is not a path inside a workspace, so the object stays in S3 only: ${remedy}` }
  }
  if (Buffer.byteLength(path) > maxNameBytes && path.split('/').some((name) => Buffer.byteLength(name) > maxNameBytes)) {
    return { code: 'NAME_TOO_LONG', message: `A name has more than ${maxNameBytes} bytes, which no disk takes: ${remedy}` }
  }
}

/** Without the trailing slash that the key of a directory has. */
export function withoutSlash (key: string): string {
  return key.endsWith('/') ? key.slice(0, -1) : key
}

/** All directories that contain one of the paths. */
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
