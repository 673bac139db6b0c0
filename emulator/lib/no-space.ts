/** Answered to callers; the service tells it from Modal's own limits by its first words. */
export const noSpaceText = 'No space is left on the disk that holds the data of the local emulator'

const codes = new Set(['ENOSPC', 'EDQUOT'])
const texts = /\b(ENOSPC|EDQUOT)\b|No space left on device|Disk quota exceeded/i

/** Whether an error, or what has caused it, says that the disk is full; a host program says so in what it prints. */
export function isNoSpace (error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code, stderr } = at as Error & { code?: unknown, stderr?: unknown }
    if (codes.has(String(code)) || texts.test(String(stderr ?? ''))) return true
  }
  return false
}
