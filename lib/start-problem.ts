import { readFileSync } from 'node:fs'

/** Loading the service takes about a hundred descriptors, each connection one, and each process in a sandbox a few. */
const neededFiles = 256

const raiseFiles = 'Raise the limit: `ulimit -n 4096` in the shell that starts it, LimitNOFILE=4096 in a systemd ' +
  'unit, or --ulimit nofile=4096 for a container.'

/** A reason why a process cannot start that its operator can remove. The message is all there is to say. */
export class StartProblem extends Error {}

/** Starts this process's work, or ends it with a sentence for the operator where there is one. */
export async function startOrExplain (start: () => Promise<void>): Promise<void> {
  try {
    checkOpenFiles()
    await start()
  } catch (error) {
    console.error(startProblem(error) ?? error)
    process.exit(1)
  }
}

/** @throws {StartProblem} when this process may open too few files. */
function checkOpenFiles (): void {
  const allowed = openFilesLimit()
  if (allowed >= neededFiles) return
  throw new StartProblem(`This process may open ${allowed} files, and needs ${neededFiles} or more. ${raiseFiles}`)
}

/** An error at start as a sentence for the operator; undefined when it is not the operator's to solve. */
export function startProblem (error: unknown): string | undefined {
  if (error instanceof StartProblem) return error.message
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const sentence = describe(cause)
    if (sentence !== undefined) return sentence
  }
  return undefined
}

interface SystemError extends NodeJS.ErrnoException { address?: string, port?: number }

function describe ({ code, syscall, path, address, port }: SystemError) {
  switch (code) {
    case 'EMFILE':
    case 'ENFILE': return `Too many open files. ${raiseFiles}`
    case 'ENOSPC':
    case 'EDQUOT': return `No space is left on the disk of ${path ?? 'DATA_DIR'}. Free some, or move DATA_DIR.`
    case 'EADDRINUSE': return `Port ${port} of ${address} is in use. End the process that uses it, or choose another port.`
    case 'EADDRNOTAVAIL': return `The address ${address} to listen at is not one of this machine. Correct HOST.`
  }
  if (syscall === 'getaddrinfo') return 'The name to listen at has no address. Correct HOST.'
  if (syscall === 'listen' && code === 'EACCES') return `Port ${port} of ${address} needs privileges. Choose one above 1023.`
  if (path !== undefined && ['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EEXIST'].includes(code!)) {
    return `${path} cannot be written (${code}). Set DATA_DIR to a directory that this user may write.`
  }
}

/** Node.js itself raises the soft limit to the hard one. */
function openFilesLimit (): number {
  try {
    const [, soft] = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'utf8'))!
    return soft === 'unlimited' ? Infinity : Number(soft)
  } catch {
    return Infinity
  }
}
