import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { copyFile } from 'node:fs/promises'
import { objectId } from '../control/ids.js'
import { failedPrecondition, invalid } from '../control/status.js'
import type { Content, Contents } from '../transfers/contents.js'
import type { TransferServer } from '../transfers/server.js'
import type { VolumeCatalog } from '../volumes/catalog.js'
import type { NewFile, VolumeEntry, VolumeFiles } from '../volumes/files.js'
import { type Block, type BlockFile, blockBytes, blocksOf, checkBlocks, writeBlocks } from './volume-blocks.js'
import type { Handlers } from './adapter.js'

interface ListMessage { volumeId: string, path: string, maxEntries?: number, recursive: boolean }
interface GetMessage { volumeId: string, path: string, start: number, len: number }
interface RemoveMessage { volumeId: string, path: string, recursive: boolean }
interface CopyMessage { volumeId: string, srcPaths: string[], dstPath: string, recursive: boolean }
interface MountPutMessage { sha256Hex: string, data?: Buffer, dataBlobId?: string }
interface PutMessage {
  volumeId: string
  files: Array<{ filename: string, sha256Hex: string, mode?: number }>
  disallowOverwriteExistingFiles: boolean
}
interface PutBlocksMessage { volumeId: string, files: BlockFile[], disallowOverwriteExistingFiles: boolean }
interface BlobMessage { contentLength: number }

export interface VolumeFileParts {
  volumes: VolumeCatalog
  volumeFiles: VolumeFiles
  contents: Contents
  transfers: TransferServer
}

/** FileEntry.type. */
const types = { file: 1, directory: 2, symlink: 3 }
const defaultMode = 0o644
const pageSize = 500
/** Beyond that, storage takes content in parts only. */
const maxBlobBytes = 5 * 1024 ** 3
const maxInlineBytes = 4 * 1024 ** 2

/** Files of volumes, as Python's SDK and command line list, send and fetch them; both versions of a volume alike. */
export function volumeFileHandlers ({ volumes, volumeFiles, contents, transfers }: VolumeFileParts): Handlers {
  return {
    unary: {
      async VolumeGetFile2 ({ volumeId, path, start, len }: GetMessage) {
        const id = objectId('vf')
        const size = await volumeFiles.pin(volumes.byId(volumeId).id, path, contents.pathOf(id))
        contents.forgetLater(id)
        if (start > size) throw invalid(`start is ${start}, beyond the ${size} bytes of the file`)
        const end = Math.min(size, len === 0 ? size : start + len)
        const urls = blocksOf(start, end).map(async (block) => await transfers.urlFor({ id, method: 'GET', ...block }))
        return { getUrls: await Promise.all(urls), size, start, len: end - start }
      },

      async MountPutFile ({ sha256Hex, data, dataBlobId }: MountPutMessage) {
        if (!/^[0-9a-f]{64}$/.test(sha256Hex)) throw invalid('sha256_hex must be a SHA-256 in hex')
        if (data === undefined && dataBlobId === undefined) return { exists: contents.get(sha256Hex) !== undefined }
        await takeFile(sha256Hex, data, dataBlobId)
        return { exists: true }
      },

      async VolumePutFiles ({ volumeId, files, disallowOverwriteExistingFiles }: PutMessage) {
        const sent = files.map(({ filename, sha256Hex, mode = defaultMode }): NewFile => {
          const content = contents.get(sha256Hex)
          if (content === undefined) throw failedPrecondition(`${filename}: its content was not sent, or more than an hour ago`)
          return { path: filename, mode, write: (target) => copyContent(content, target) }
        })
        await volumeFiles.put(volumes.byId(volumeId).id, sent, !disallowOverwriteExistingFiles)
        return {}
      },

      async VolumePutFiles2 ({ volumeId, files, disallowOverwriteExistingFiles }: PutBlocksMessage) {
        const volume = volumes.byId(volumeId)
        checkBlocks(files)
        await volumeFiles.checkPut(volume.id, files.map(({ path }) => path), !disallowOverwriteExistingFiles)
        const missing = files.flatMap(({ blocks }, fileIndex) => blocks.flatMap((block, blockIndex) =>
          contentOf(block) === undefined ? [{ fileIndex, blockIndex }] : []))
        if (missing.length > 0) return { missingBlocks: await Promise.all(missing.map(withPutUrl)) }
        const sent = files.map(({ path, mode = defaultMode, size, blocks }): NewFile => {
          const parts = blocks.map((block) => contentOf(block)!)
          return { path, mode, write: (target) => writeBlocks(target, parts, size) }
        })
        await volumeFiles.put(volume.id, sent, !disallowOverwriteExistingFiles)
        return { missingBlocks: [] }
      },

      async BlobCreate ({ contentLength }: BlobMessage) {
        if (contentLength < 0 || contentLength > maxBlobBytes) throw invalid(`content_length must be at most ${maxBlobBytes}, got ${contentLength}`)
        const blobId = objectId('bl')
        const uploadUrl = await transfers.urlFor({ id: blobId, method: 'PUT', start: 0, length: contentLength })
        return { blobId, uploadUrl, blobIds: [blobId], uploadUrls: { items: [uploadUrl] } }
      },

      ...twice('VolumeRemoveFile', async ({ volumeId, path, recursive }: RemoveMessage) => {
        await volumeFiles.remove(volumes.byId(volumeId).id, path, recursive)
        return {}
      }),
      ...twice('VolumeCopyFiles', async ({ volumeId, srcPaths, dstPath, recursive }: CopyMessage) => {
        const { id, version } = volumes.byId(volumeId)
        if (recursive && version === 1) throw invalid('`recursive` is not supported for V1 volumes')
        await volumeFiles.copy(id, srcPaths, dstPath, recursive)
        return {}
      })
    },

    serverStream: twice('VolumeListFiles', async function * ({ volumeId, path, recursive, maxEntries = Infinity }: ListMessage) {
      let entries: object[] = []
      let left = maxEntries
      for await (const entry of volumeFiles.list(volumes.byId(volumeId).id, path, recursive)) {
        if (left-- <= 0) break
        entries.push(messageOf(entry))
        if (entries.length < pageSize) continue
        yield { entries }
        entries = []
      }
      if (entries.length > 0) yield { entries }
    })
  }

  /** Keeps content under its checksum. */
  async function takeFile (sha256Hex: string, data: Buffer | undefined, dataBlobId: string | undefined): Promise<void> {
    if (data !== undefined && data.length > maxInlineBytes) throw invalid(`data must have at most ${maxInlineBytes} bytes: send a blob`)
    const blob = dataBlobId === undefined ? undefined : contents.get(dataBlobId)
    if (dataBlobId !== undefined && blob === undefined) throw failedPrecondition(`Blob ${dataBlobId} was not sent`)
    const sha256 = blob?.sha256 ?? createHash('sha256').update(data!).digest('hex')
    if (sha256 !== sha256Hex) throw invalid(`The content has the SHA-256 ${sha256}, not ${sha256Hex}`)
    contents.name(sha256Hex, blob ?? await contents.receive(objectId('vf'), [data!], maxInlineBytes))
  }

  /** Only whoever has sent a block, and got its address, knows what was answered then. */
  function contentOf ({ contentsSha256, putResponse }: Block): Content | undefined {
    const content = putResponse === undefined ? undefined : contents.get(putResponse.toString())
    return content?.sha256 === contentsSha256.toString('hex') ? content : undefined
  }

  async function withPutUrl (block: object): Promise<object> {
    const grant = { id: objectId('vb'), method: 'PUT', start: 0, length: blockBytes } as const
    return { ...block, putUrl: await transfers.urlFor(grant) }
  }
}

/** Both versions of volumes have RPCs of their own, which do the same. */
function twice<T> (name: string, handler: T): Record<string, T> {
  return { [name]: handler, [`${name}2`]: handler }
}

async function copyContent ({ path }: Content, target: string): Promise<void> {
  await copyFile(path, target, constants.COPYFILE_FICLONE)
}

function messageOf ({ path, type, size, mtime }: VolumeEntry): object {
  return { path, type: types[type], size, mtime }
}
