import { createHash, randomBytes, randomInt } from 'node:crypto'

const base62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const crockford = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'

/** A random id: `<prefix>-` and 22 letters and digits, like Modal's. The SDK takes `sb-` ids of this shape for V1. */
export function objectId (prefix: string): string {
  let text = ''
  while (text.length < 22) text += base62[randomInt(62)]
  return `${prefix}-${text}`
}

/** An id of the same shape, made from content: the same content has the same id. */
export function contentId (prefix: string, content: string): string {
  const bytes = createHash('sha256').update(content).digest().subarray(0, 22)
  return `${prefix}-${Array.from(bytes, (byte) => base62[byte % 62]).join('')}`
}

/** `<prefix>-` and a ULID; the SDK takes `sb-` ids of this shape for V2. */
export function ulidId (prefix: string): string {
  let time = Date.now()
  let text = ''
  for (let i = 0; i < 10; i++) {
    text = `${crockford[time % 32]}${text}`
    time = Math.floor(time / 32)
  }
  for (const byte of randomBytes(16)) text += crockford[byte % 32]
  return `${prefix}-${text}`
}
