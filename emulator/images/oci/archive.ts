import { createReadStream, createWriteStream } from 'node:fs'
import { lstat, open, rm, stat } from 'node:fs/promises'
import { join, posix } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createHash } from 'node:crypto'
import { decompressed, parseDigest, readDocument } from './blob.js'
import { contentOf, type Descriptor, descriptorOf, type ImageContent, isObject, parse, parseJson, readImage, strings } from './manifest.js'
import { namesOf } from './reference.js'
import { ImageError, readTar } from './tar.js'
import { limits } from './unpack.js'

/** Far more than the blobs of all images that an archive may hold. */
const maxMembers = 100_000
/** Links between the layers of archives that old versions of Docker have saved. */
const maxLinks = 8

export type LocalKind = 'directory' | 'layout' | 'archive'

/** Files by name, on disk or in an archive. */
interface Files {
  has (name: string): Promise<boolean>
  /** @throws {ImageError} when there is no such file */
  open (name: string): AsyncIterable<Buffer>
}

/** What a path of the settings holds: a root file system, an OCI layout, or else what must be an archive. */
export async function kindOf (path: string): Promise<{ kind: LocalKind, version: string }> {
  if (await stat(path).then((found) => !found.isDirectory(), () => true)) return { kind: 'archive', version: await versionOf(path) }
  if (!await directoryFiles(path).has('oci-layout')) return { kind: 'directory', version: '' }
  return { kind: 'layout', version: await versionOf(join(path, 'index.json')) }
}

/** Changes with the file. */
async function versionOf (path: string): Promise<string> {
  return await stat(path).then(({ mtimeMs, size }) => `${mtimeMs} ${size}`, () => 'missing')
}

/** The image of an OCI layout that a tag means. @throws {ImageError} */
export async function layoutImage (path: string, tag: string): Promise<ImageContent> {
  return await ociImage(directoryFiles(path), tag)
}

/**
 * The image that a tag means of an archive: an OCI layout, or what `docker save` writes; compressed or not.
 * @param temporary a path for a copy of a compressed one, which must stay as long as the layers are read
 * @throws {ImageError}
 */
export async function archiveImage (path: string, tag: string, temporary: string): Promise<ImageContent> {
  await checkFile(path)
  const plain = await isCompressed(path) ? await decompressTo(path, temporary) : path
  const files = await archiveFiles(plain)
  if (await files.has('oci-layout')) return await ociImage(files, tag)
  if (await files.has('manifest.json')) return await dockerImage(files, tag)
  throw new ImageError(`${path} is an archive of neither an OCI layout nor \`docker save\`: it has no oci-layout and no manifest.json`)
}

async function ociImage (files: Files, tag: string): Promise<ImageContent> {
  const { manifests } = parse(await readDocument(files.open('index.json'), 'index.json'), 'index.json')
  const all = (Array.isArray(manifests) ? manifests : []).map(descriptorOf)
  const chosen = choose(all, tag, ({ annotations = {} }) =>
    ['io.containerd.image.name', 'org.opencontainers.image.ref.name'].flatMap((name) => annotations[name] ?? []))
  const blob = ({ digest }: Descriptor) => {
    const { algorithm, hex } = parseDigest(digest)
    return files.open(`blobs/${algorithm}/${hex}`)
  }
  const document = Buffer.from(JSON.stringify({ manifests: chosen }))
  return await readImage({ document, digest: chosen[0]!.digest }, { manifest: blob, blob })
}

async function dockerImage (files: Files, tag: string): Promise<ImageContent> {
  const images = parseJson(await readDocument(files.open('manifest.json'), 'manifest.json'), 'manifest.json')
  const all = Array.isArray(images) && images.every(isObject) ? images : []
  const [image] = choose(all, tag, ({ RepoTags }) => strings(RepoTags, 'RepoTags'))
  const name = String(image!['Config'])
  const text = await readDocument(files.open(name), 'the configuration')
  const digest = createHash('sha256').update(text).digest('hex')
  const [named = digest] = /\b[0-9a-f]{64}\b/.exec(name) ?? []
  if (named !== digest) throw new ImageError(`the configuration ${name} does not have the digest that it is named after`)
  return contentOf(`sha256:${digest}`, text, strings(image!['Layers'], 'Layers').map((layer) =>
    ({ name: layer, open: () => files.open(layer) })))
}

/** The only image, or those (of several platforms) with the name of a tag. */
function choose<T> (images: T[], tag: string, names: (image: T) => string[]): T[] {
  if (images.length === 0) throw new ImageError('it holds no image')
  const known = new Set(images.flatMap(names))
  if (images.length === 1 || known.size <= 1) return images
  for (const name of namesOf(tag)) {
    const found = images.filter((image) => names(image).includes(name))
    if (found.length > 0) return found
  }
  throw new ImageError(`it holds several images, and none is called ${tag}: ${[...known].join(', ')}`)
}

function directoryFiles (directory: string): Files {
  const isFile = async (name: string) => await lstat(join(directory, name)).then((found) => found.isFile(), () => false)
  return {
    has: isFile,
    async * open (name) {
      if (!await isFile(name)) throw new ImageError(`${directory} has no file ${name}`)
      yield * createReadStream(join(directory, name))
    }
  }
}

/** Nothing is unpacked: the members are read where they are in the archive. */
async function archiveFiles (path: string): Promise<Files> {
  const members = new Map<string, { start: number, size: number } | { link: string }>()
  for await (const [{ path: name, type, target, offset, size }] of readTar(createReadStream(path))) {
    if (members.size >= maxMembers) throw new ImageError(`${path} has more than ${maxMembers} files`)
    const at = posix.normalize(name)
    if (type === 'file') members.set(at, { start: offset, size })
    if (type === 'link') members.set(at, { link: posix.join(posix.dirname(at), target) })
    if (type === 'hard link') members.set(at, { link: posix.normalize(target) })
  }
  const find = (name: string) => {
    let found = members.get(posix.normalize(name))
    for (let links = 0; links < maxLinks && found !== undefined && 'link' in found; links++) found = members.get(found.link)
    return found !== undefined && 'start' in found ? found : undefined
  }
  return {
    has: async (name) => find(name) !== undefined,
    async * open (name) {
      const member = find(name)
      if (member === undefined) throw new ImageError(`${path} has no file ${name.slice(0, 200)}`)
      if (member.size > 0) yield * createReadStream(path, { start: member.start, end: member.start + member.size - 1 })
    }
  }
}

async function checkFile (path: string): Promise<void> {
  const found = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    throw new ImageError(cause.code === 'ENOENT' ? 'it does not exist' : `it cannot be read (${cause.message})`, { cause })
  })
  if (!found.isFile()) throw new ImageError('it is neither a directory nor a file')
}

async function isCompressed (path: string): Promise<boolean> {
  const file = await open(path)
  try {
    const { buffer } = await file.read(Buffer.alloc(4), 0, 4, 0)
    return buffer.readUInt16BE() === 0x1f8b || buffer.readUInt32LE() === 0xfd2fb528
  } finally {
    await file.close()
  }
}

async function decompressTo (path: string, temporary: string): Promise<string> {
  let size = 0
  await pipeline(decompressed(createReadStream(path)), async function * (source: AsyncIterable<Buffer>) {
    for await (const chunk of source) {
      size += chunk.length
      if (size > limits.bytes) throw new ImageError(`${path} is larger than what the local emulator takes`)
      yield chunk
    }
  }, createWriteStream(temporary, { flags: 'wx', mode: 0o600 })).catch(async (error) => {
    await rm(temporary, { force: true })
    throw error
  })
  return temporary
}
