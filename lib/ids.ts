import { createHash, randomBytes } from 'node:crypto'

const alphabet = '0123456789abcdefghijklmnopqrstuvwxyz'

/** A random id such as `run_8k2f...`: 20 characters of base 36, about 103 bits. */
export function randomId (prefix: string): string {
  const characters = Array.from(randomBytes(20), (byte) => alphabet[byte % alphabet.length])
  return `${prefix}_${characters.join('')}`
}

/** SHA-256 in hex, cut to `length` characters. */
export function digest (content: string | Uint8Array, length = 64): string {
  return createHash('sha256').update(content).digest('hex').slice(0, length)
}
