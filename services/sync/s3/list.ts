import { S3Error } from './errors.js'
import { bareEtag } from './http.js'

export interface ObjectInfo {
  /** Below the prefix. */
  key: string
  size: number
  etag: string
  /** When S3 stored it; milliseconds since 1970. */
  storedAt: number
}

interface ListPage { objects: ObjectInfo[], next: string | undefined }

const entities: Record<string, string> = { lt: '<', gt: '>', quot: '"', apos: '\'', amp: '&' }

/**
 * A page of ListObjectsV2. The SDK reads one that was cut short without complaint, and a general XML parser takes ten
 * times as long as S3 takes to make the page.
 * @throws {S3Error} when the end of the document is missing.
 */
export function parseListPage (xml: string, prefix: string): ListPage {
  if (!/<\/ListBucketResult>\s*$/.test(xml)) throw new S3Error('IncompleteBody')
  const objects: ObjectInfo[] = []
  const [first, last] = [xml.indexOf('<Contents>'), xml.lastIndexOf('</Contents>')]
  for (let end = 0, start; (start = xml.indexOf('<Contents>', end)) !== -1;) {
    end = xml.indexOf('</Contents>', start)
    const object = xml.slice(start, end)
    objects.push({
      key: decodeKey(field(object, '<Key>') ?? '').slice(prefix.length),
      size: Number(field(object, '<Size>')),
      etag: bareEtag(field(object, '<ETag>')),
      storedAt: Date.parse(field(object, '<LastModified>') ?? '') || 0
    })
  }
  const rest = first === -1 ? xml : xml.slice(0, first) + xml.slice(last)
  return { objects, next: field(rest, '<IsTruncated>') === 'true' ? field(rest, '<NextContinuationToken>') : undefined }
}

export function decodeKey (key: string): string {
  // Even where there is nothing to decode this makes a new string, which does not keep the whole page in memory.
  return decodeURIComponent(key.replaceAll('+', '%20'))
}

/** @param tag of an element that contains only text. */
function field (xml: string, tag: string): string | undefined {
  const start = xml.indexOf(tag)
  if (start === -1) return
  const text = xml.slice(start + tag.length, xml.indexOf('</', start))
  if (!text.includes('&')) return text
  // ETags have quotes, so every object has this entity.
  const unquoted = text.replaceAll('&quot;', '"')
  return unquoted.includes('&') ? unquoted.replace(/&(?:#(x?)([0-9a-f]+)|(\w+));/gi, decodeEntity) : unquoted
}

function decodeEntity (whole: string, hex: string, digits: string, name: string): string {
  return digits === undefined ? entities[name] ?? whole : String.fromCodePoint(parseInt(digits, hex === '' ? 10 : 16))
}
