import { readFileSync } from 'node:fs'

/**
 * Reads a script that runs in a sandbox, from the `scripts/` folder beside the caller's module.
 * @param base `import.meta.url` of the caller. @param name such as `kill.sh`.
 */
export function loadScript (base: string, name: string): string {
  return readFileSync(new URL(`scripts/${name}`, base), 'utf8')
}

/** A word that no shell takes for anything but itself. */
export function quote (word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`
}

/** Goes in front of scripts whose outcome must not depend on what an image has in its environment. */
export const cleanEnvironment = loadScript(import.meta.url, 'environment.sh')
