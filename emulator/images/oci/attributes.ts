import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { hostTool, onHost } from '../../container/host.js'

/** By machine: lsetxattr. */
const systemCall = process.arch === 'x64' ? 189 : 6
/** The others mean something to the machine or to the overlay itself, not to programs in the image. */
const kept = /^(security\.capability$|user\.(?!overlay\.))/

/** Node cannot set extended attributes. Perl, which every Debian has, can make a system call by its number. */
const script = `while (<STDIN>) {
  my ($path, $name, $value) = map { pack "H*", $_ } split / /, substr($_, 0, -1), 3;
  next if syscall(${systemCall}, $path, $name, $value, length $value, 0) == 0;
  $failed{"extended attributes ($!)"}++;
}
print "$failed{$_} $_\\n" for keys %failed`

/**
 * Sets extended attributes of files and directories, by path; what has links on the way must not be among them.
 * @returns what could not be set, and how often
 */
export async function setAttributes (
  all: Map<string, Map<string, Buffer>>
): Promise<Array<[kind: string, count: number]>> {
  const hex = (text: string | Buffer) => Buffer.from(text as string).toString('hex')
  const lines = [...all].flatMap(([path, xattrs]) => [...xattrs].flatMap(([name, value]) =>
    kept.test(name) ? [`${hex(path)} ${hex(name)} ${hex(value)}\n`] : []))
  if (lines.length === 0) return []
  const [program, ...rest] = onHost([await hostTool('perl'), '-e', script])
  const running = promisify(execFile)(program!, rest, { env: {}, cwd: '/' })
  running.child.stdin!.on('error', () => {})
  running.child.stdin!.end(lines.join(''))
  const { stdout } = await running
  return [...stdout.matchAll(/^(\d+) (.*)$/gm)].map(([, count, kind]) => [kind!, Number(count)])
}
