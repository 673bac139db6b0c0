import { readdir, readFile, readlink } from 'node:fs/promises'

const listening = '0A'
/**
 * In the kernel's notation: any address, and the one of loopback that is connected to, of IPv4 and IPv6. On another
 * (127.0.0.2) the port may be someone else's here.
 */
const ipv4 = new Set(['00000000', '0100007F'])
const ipv6 = new Set(['0'.repeat(32), '00000000000000000000000001000000'])

/**
 * The address at which one of these processes takes TCP connections on a port of its network; undefined when none does.
 * Others may listen in the same network: that a connection is possible does not say to whom.
 * @param pids of the host
 */
export async function listenerAmong (pids: number[], port: number): Promise<string | undefined> {
  const [first] = pids
  if (first === undefined) return undefined
  const inIpv4 = (await sockets(first, 'tcp', port)).filter(({ address }) => ipv4.has(address))
  const inIpv6 = (await sockets(first, 'tcp6', port)).filter(({ address }) => ipv6.has(address))
  if (inIpv4.length + inIpv6.length === 0) return undefined
  const own = new Set((await Promise.all(pids.map(socketsOf))).flat())
  if (inIpv4.some(({ inode }) => own.has(inode))) return '127.0.0.1'
  // A socket of any IPv6 address may refuse IPv4.
  if (inIpv6.some(({ inode }) => own.has(inode))) return '::1'
  return undefined
}

/** The listening sockets of the network that a process is in. */
async function sockets (pid: number, kind: 'tcp' | 'tcp6', port: number) {
  const text = await readFile(`/proc/${pid}/net/${kind}`, 'utf8').catch(() => '')
  return text.split('\n').slice(1).flatMap((line) => {
    const [, local, , state, , , , , , inode] = line.trim().split(/\s+/)
    const [address, hex] = local?.split(':') ?? []
    return state === listening && Number.parseInt(hex!, 16) === port ? [{ address: address!, inode: inode! }] : []
  })
}

async function socketsOf (pid: number): Promise<string[]> {
  const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => [])
  const links = await Promise.all(descriptors.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => '')))
  return links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? [])
}

/** The processes of a process namespace, by one of them. */
export async function inSameNamespace (pid: number): Promise<number[]> {
  const namespaceOf = async (pid: number) => await readlink(`/proc/${pid}/ns/pid`).catch(() => undefined)
  const own = await namespaceOf(pid)
  if (own === undefined) return []
  const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 0)
  const namespaces = await Promise.all(pids.map(namespaceOf))
  return pids.filter((_pid, index) => namespaces[index] === own)
}

/** A process and all that it and those have started. */
export async function familyOf (pid: number): Promise<number[]> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => [])
  const lists = await Promise.all(threads.map((thread) =>
    readFile(`/proc/${pid}/task/${thread}/children`, 'utf8').catch(() => '')))
  const children = lists.flatMap((list) => list.trim().split(' ')).map(Number).filter((child) => child > 0)
  return [pid, ...(await Promise.all(children.map(familyOf))).flat()]
}
