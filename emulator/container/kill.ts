import { readFile } from 'node:fs/promises'

/** Kills the command itself, some generations below the process that entered the namespaces, and nothing else. */
export async function killCommand (pid: number, depth: number): Promise<void> {
  let target = pid
  for (let level = 0; level < depth; level++) {
    const children = await readFile(`/proc/${target}/task/${target}/children`, 'utf8').catch(() => '')
    const child = Number(children.split(' ')[0])
    if (!child) break
    target = child
  }
  try {
    process.kill(target, 'SIGKILL')
  } catch {
    // It has ended by itself in the meantime.
  }
}
