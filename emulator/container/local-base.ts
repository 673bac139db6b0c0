import { access, cp, lstat, mkdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { removeTree, runOnHost } from './host.js'
import { linkOrCopy } from './toolbox.js'

/** What programs expect in /etc, and nothing secret: keys, password hashes and logins stay outside. */
const allowed = [
  'alternatives', 'apt/sources.list', 'apt/sources.list.d', 'apt/trusted.gpg.d', 'bash.bashrc', 'ca-certificates',
  'ca-certificates.conf', 'debian_version', 'default/useradd', 'dpkg', 'host.conf', 'inputrc', 'ld.so.cache', 'ld.so.conf',
  'ld.so.conf.d', 'locale.alias', 'locale.conf', 'localtime', 'login.defs', 'lsb-release', 'magic', 'mime.types', 'nsswitch.conf',
  'os-release', 'pki/tls/certs', 'profile', 'profile.d', 'protocols', 'python3', 'python3.11', 'resolv.conf', 'rpc', 'services',
  'shells', 'ssl/certs', 'ssl/openssl.cnf', 'terminfo', 'timezone', 'vim'
]
const directories = ['dev', 'proc', 'sys', 'run', 'home', 'root', 'opt', 'srv', 'mnt', 'media', 'workspace', 'var/cache/apt/archives/partial',
  'var/lib/apt/lists/partial', 'var/log/apt', 'var/spool', 'var/run', '__modal', 'usr']
const passwd = 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n_apt:x:42:65534::/nonexistent:/usr/sbin/nologin\n'
const group = 'root:x:0:\ntty:x:5:\nadm:x:4:\nstaff:x:50:\nmail:x:8:\nutmp:x:43:\nnogroup:x:65534:\n'

/**
 * The base image `local`: this machine's system, without its homes, keys and data. `root` is the lower layer of /,
 * `usr` is stacked on the machine's /usr and adds Claude and Node. Rebuilt when the host has changed.
 */
export async function makeLocalBase (directory: string, claudeBinary: string | undefined): Promise<void> {
  await rm(directory, { recursive: true, force: true })
  const root = join(directory, 'root')
  for (const name of directories) await mkdir(join(root, name), { recursive: true })
  for (const name of ['tmp', 'var/tmp']) {
    await mkdir(join(root, name))
    await runOnHost('chmod', '1777', join(root, name))
  }
  await mirrorTopLevel(root)
  await copySettings(root)
  await writeFile(join(root, 'etc', 'passwd'), passwd)
  await writeFile(join(root, 'etc', 'group'), group)
  await writeFile(join(root, 'etc', 'hosts'), '127.0.0.1 localhost\n::1 localhost\n')
  await linkOrCopyTrees(['/var/lib/dpkg'], root)

  const bin = join(directory, 'usr', 'local', 'bin')
  for (const name of ['bin', 'lib', 'share', 'include', 'etc', 'sbin']) {
    await mkdir(join(directory, 'usr', 'local', name), { recursive: true })
  }
  if (claudeBinary !== undefined) await linkOrCopy(claudeBinary, join(bin, 'claude'))
  const hasNode = await exists('/usr/bin/node') || await exists('/usr/local/bin/node')
  if (!hasNode) await linkOrCopy(process.execPath, join(bin, 'node'))
}

/** /bin, /lib and the like: links into /usr on a merged system, else copies of the directories. */
async function mirrorTopLevel (root: string) {
  for (const name of ['bin', 'sbin', 'lib', 'lib32', 'lib64', 'libx32']) {
    const entry = await lstat(join('/', name)).catch(() => undefined)
    if (entry?.isSymbolicLink()) await symlink(await readlink(join('/', name)), join(root, name))
    else if (entry?.isDirectory()) await cp(join('/', name), join(root, name), { recursive: true, verbatimSymlinks: true })
  }
}

/** Follows a link at the top (resolv.conf and localtime often are), keeps links below, skips what can't be read. */
async function copySettings (root: string) {
  const directories: string[] = []
  for (const name of allowed) {
    const source = join('/etc', name)
    const entry = await lstat(source).catch(() => undefined)
    if (entry === undefined) continue
    if (entry.isDirectory()) {
      directories.push(source)
      continue
    }
    const target = join(root, source)
    await mkdir(dirname(target), { recursive: true })
    await readFile(source).then(async (content) => { await writeFile(target, content) }, () => {})
  }
  await linkOrCopyTrees(directories, root)
}

/** Thousands of small files: hard links where possible. Nobody writes to them: containers change copies. */
async function linkOrCopyTrees (sources: string[], root: string) {
  const copy = async (...options: string[]) =>
    await runOnHost('cp', '-a', '--no-preserve=ownership', '--parents', ...options, '--', ...sources, root)
  await copy('--link').catch(async () => {
    await removeTree(...sources.map((source) => join(root, source)))
    await copy().catch(() => {})
  })
}

async function exists (path: string): Promise<boolean> {
  return await access(path).then(() => true, () => false)
}
