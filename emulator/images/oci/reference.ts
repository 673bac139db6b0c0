import { isIP } from 'node:net'
import { parseDigest } from './blob.js'
import { ImageError } from './tar.js'

/** Where an image is in a registry. */
export interface Reference {
  /** Host and, where it is not the usual one, port. */
  host: string
  repository: string
  /** A tag or a digest. */
  version: string
  isLoopback: boolean
}

const component = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*'
const form = new RegExp(`^(${component}(?:/${component})*)(?::([\\w][\\w.-]{0,127}))?(?:@(.+))?$`)

/**
 * Reads a reference as Docker does: the first part is a host when it could be none of a repository's names; without
 * one the image is Docker Hub's.
 * @throws {ImageError}
 */
export function parseReference (text: string): Reference {
  const slash = text.indexOf('/')
  const first = text.slice(0, slash)
  const hasHost = slash > 0 && (/[.:]|[A-Z]/.test(first) || first === 'localhost')
  const name = hasHost ? text.slice(slash + 1) : text
  const [, repository, tag = 'latest', digest] = form.exec(name) ?? []
  if (repository === undefined || repository.length > 255) throw new ImageError('it is not the name of an image: expected [host[:port]/]name[:tag] or name@sha256:...')
  if (digest !== undefined) parseDigest(digest)
  const version = digest ?? tag
  if (!hasHost || first === 'docker.io' || first === 'index.docker.io') {
    return { host: 'registry-1.docker.io', repository: repository.includes('/') ? repository : `library/${repository}`, version, isLoopback: false }
  }
  if (!URL.canParse(`https://${first}`) || new URL(`https://${first}`).host !== first.toLowerCase().replace(/:443$/, '')) {
    throw new ImageError(`'${first.slice(0, 100)}' is not a host`)
  }
  return { host: first, repository, version, isLoopback: isLoopback(new URL(`https://${first}`).hostname) }
}

/** Whether an address is this machine's own for sure; only there nobody can listen. */
export function isLoopback (hostname: string): boolean {
  const address = hostname.replace(/^\[|\]$/g, '')
  return address === 'localhost' || address === '::1' || (isIP(address) === 4 && address.startsWith('127.'))
}

/** The names that archives give an image with such a tag. */
export function namesOf (tag: string): string[] {
  try {
    const { host, repository, version } = parseReference(tag)
    const hub = host === 'registry-1.docker.io'
    const full = `${hub ? 'docker.io' : host}/${repository}:${version}`
    return [tag, full, `${tag}:latest`, ...hub ? [`${repository.replace(/^library\//, '')}:${version}`] : [], version]
  } catch {
    return [tag]
  }
}
