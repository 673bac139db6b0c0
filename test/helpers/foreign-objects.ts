import {
  GetObjectCommand, ListObjectsV2Command, PutObjectCommand, type PutObjectCommandInput, type S3Client
} from '@aws-sdk/client-s3'
import { createHash } from 'node:crypto'

/** What somebody else puts below a prefix, with whatever tool. */
export type ForeignObject = { key: string, body: Buffer } & Pick<
  PutObjectCommandInput, 'ContentType' | 'CacheControl' | 'ContentDisposition' | 'ContentEncoding' | 'ContentLanguage' | 'Metadata'>

/** All that can be seen of an object. */
export interface Seen {
  etag: string
  storedAt: number
  sha256: string
  headers: Record<string, string | undefined>
  metadata: Record<string, string>
}

/** Keys that are odd alone, or beside the others of their row. */
const rows: string[][] = [
  ['abc', 'abc/asd'], ['abc/asd/deeper', 'abc/asd'], ['a//b.txt'], ['/lead.txt'], ['//'], ['empty//'], ['./a'], ['d/../e'], ['..'], ['up/..'],
  ['dot/.'], ['x'.repeat(300)], ['ö'.repeat(127)], ['y'.repeat(255)], ['notes', 'notes/'], ['notes', 'notes/', 'notes/in'], ['marker/'],
  ['marker/', 'marker/in'], [''], ['ünï/日本.txt'], ['e\u0301', 'é'], ['new\nline', 'new\nline/\n'], ['tab\t', '\r'], ['\u0001ctl'],
  ['back\\slash\\..\\x'], ['%2e%2e/x', '%'], ['🎉/\u202e'], [' ', ' / '], ['.modal-sandbox-part-x'], ['.modal-sandbox'], ['.modal-sandbox/theirs'],
  ['.nfs0001'], ['*', '?'], ['-rf'], ['$(id)'], [Array(40).fill('deep').join('/')], ['plain'], ['some/plain'], ['other/plain', 'other/plain.txt'],
  ['...', '.../...'], ['a+b c&d=e'], ['.syncignore', '.syncignore/x'], ['.syncignore'],
  ['lost+found/x']
]
/** Their content is no directory's. */
const withContent = ['full/', 'full/in']

const times = [
  '568971820800', '+020000-01-01T00:00:00Z', '-2147483648', '-157766400.123456789', '-0.25', '0', '2147483648', '15032385535', '99999999999',
  '-99999999999', '1720000000.987654321', 'yesterday', '', '1e9', '1720000000123', '1720000000123456789'
]
const modes = ['0100640', '33188', '0644', '100755', '0120777', '41471', '040700', '0104755', '999999999', 'rw-r--r--', '0100444']

/** A few objects of others, the same ones for the same numbers. @param folders below which they may be. */
export function foreignObjects (random: () => number, folders: string[], count: number): ForeignObject[] {
  const below = (limit: number) => Math.floor(random() * limit)
  const pick = <T>(list: T[]) => list[below(list.length)]!
  return Array.from({ length: count }, () => {
    const isFull = random() < 0.1
    const folder = random() < 0.4 ? pick(['', ...folders]) : ''
    return (isFull ? withContent : pick(rows)).map((name): ForeignObject => {
      const key = folder === '' ? name : `${folder}/${name}`
      const isMarker = !isFull && key.endsWith('/') && random() < 0.8
      const body = isMarker || random() < 0.05 ? Buffer.alloc(0) : Buffer.from(`${key} ${random()}`.repeat(1 + below(300)))
      return {
        key,
        body,
        ...random() < 0.5 && { ContentType: pick(['text/html; charset=utf-8', 'application/x-directory', 'image/png']) },
        ...random() < 0.3 && { CacheControl: 'max-age=31536000, immutable' },
        ...random() < 0.2 && { ContentDisposition: 'attachment; filename="a b.txt"' },
        ...random() < 0.2 && { ContentEncoding: 'gzip' },
        ...random() < 0.2 && { ContentLanguage: 'de, en' },
        ...random() < 0.7 && {
          Metadata: {
            'owner-note': `their own ${below(1000)}`,
            ...random() < 0.5 && { [pick(['mtime', 'mtime', 'file-mtime'])]: pick(times) },
            ...random() < 0.5 && { [pick(['mode', 'mode', 'file-permissions'])]: pick(modes) },
            ...random() < 0.2 && { uid: '99999', gid: 'staff' }
          }
        }
      }
    })
  }).flat()
}

export async function putForeign (client: S3Client, bucket: string, prefix: string, objects: ForeignObject[]) {
  for (const { key, body, ...rest } of objects) {
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: prefix + key, Body: body, ...rest }))
  }
}

/** Everything below a prefix, by key. */
export async function seeObjects (client: S3Client, bucket: string, prefix: string): Promise<Map<string, Seen>> {
  const seen = new Map<string, Seen>()
  let ContinuationToken: string | undefined
  do {
    const page = await client.send(new ListObjectsV2Command({
      Bucket: bucket, Prefix: prefix, EncodingType: 'url', ...(ContinuationToken !== undefined && { ContinuationToken })
    }))
    const keys = (page.Contents ?? []).map(({ Key }) => decodeURIComponent(Key!.replaceAll('+', '%20')))
    const see = async (key: string) => [key.slice(prefix.length), await seeObject(client, bucket, key)] as const
    const found = await Promise.all(keys.map(see))
    for (const [key, object] of found) seen.set(key, object)
    ContinuationToken = page.NextContinuationToken
  } while (ContinuationToken !== undefined)
  return seen
}

async function seeObject (client: S3Client, Bucket: string, Key: string): Promise<Seen> {
  const object = await client.send(new GetObjectCommand({ Bucket, Key }))
  const { ContentType, CacheControl, ContentDisposition, ContentEncoding, ContentLanguage } = object
  return {
    etag: object.ETag!,
    storedAt: object.LastModified!.getTime(),
    sha256: createHash('sha256').update(await object.Body!.transformToByteArray()).digest('hex'),
    headers: { ContentType, CacheControl, ContentDisposition, ContentEncoding, ContentLanguage },
    metadata: object.Metadata ?? {}
  }
}
