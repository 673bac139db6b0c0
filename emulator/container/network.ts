import { join } from 'node:path'
import { shellQuote } from '../lib/shell.js'

/** A range that no list is meant for (RFC 2544: benchmarks), for the network between a container and its way out. */
const range = '198.18.0.0/24'
/** At which a container with a network of its own, but without a list, finds the machine's 127.0.0.1. */
const machineAddress = '198.18.0.2'
/** Passes questions on to the machine's name servers. */
const nameServer = '198.18.0.3'
/** An address of the machine's loopback that leads to the machine from containers without a list, too: for tunnels. */
export const sharedLoopback = '127.77.0.1'

/** A network namespace that a container joins. */
export interface JoinedNetwork {
  file: string
  /** Shell commands that make it first, if need be, and put its name servers into `$names`. */
  script: string
}

const names = `names='nameserver ${nameServer}'`

/**
 * A network of its own, as the file `network` in `directory`; `slirp4netns` is its way out, as it unmounts things for
 * itself only (`--enable-sandbox`). A container, without privileges in that network, can't change its routes.
 * @param cidrs where the routes lead, never to the machine's loopback; undefined: everywhere
 */
export function ownNetwork (directory: string, cidrs?: string[]): JoinedNetwork {
  const file = join(directory, 'network')
  const [network, ready] = [shellQuote(file), shellQuote(join(directory, 'network-ready'))]
  const routes = cidrs === undefined ? toMachine : onlyTo(cidrs)
  return {
    file,
    script: `: > ${network}; unshare --net=${network} true
mkfifo ${ready}
setpriv --pdeathsig KILL unshare -m --propagation private slirp4netns --netns-type=path --configure --mtu=65520 \
  --cidr=${range} ${cidrs === undefined ? '' : '--disable-host-loopback '}--enable-sandbox --ready-fd=3 ${network} tap0 3> ${ready} > /dev/null &
read -r up < ${ready} || true
[ "$up" = 1 ] || { echo 'slirp4netns could not make the network' >&2; exit 1; }
nsenter --net=${network} sh -ec ${shellQuote(['ip link set lo up', ...routes].join('\n'))}
${names}`
  }
}

/** A URL of something that listens on the machine's 127.0.0.1, as a container without a list has to write it. */
export function urlInOwnNetwork (url: string): string {
  return url.replace(/^(https?:\/\/)(?:127\.0\.0\.1|localhost)(?=[:/?#]|$)/i, `$1${machineAddress}`)
}

/** The network that a container has made, for others. @param supervisorPid its supervisor's, which sees that file */
export function networkOfOther (file: string, supervisorPid: number): JoinedNetwork {
  return { file: `/proc/${supervisorPid}/root${file}`, script: names }
}

/** Prefix of a command line of the host: what follows runs in the network of a container. */
export function enterNetwork ({ file }: JoinedNetwork, supervisorPid: number, userNamespace: boolean): string[] {
  const user = userNamespace ? ['-t', String(supervisorPid), '-U', '--preserve-credentials'] : []
  return ['nsenter', ...user, `--net=/proc/${supervisorPid}/root${file}`]
}

const toMachine = [
  'echo 1 > /proc/sys/net/ipv4/conf/tap0/route_localnet',
  `ip route add table local ${sharedLoopback} via ${machineAddress} dev tap0`
]

/** A socket that is bound to the device passes over its own loopback: slirp4netns would lead it to the machine's. */
const onlyTo = (cidrs: string[]) => [
  'ip route del default',
  'ip route add unreachable default metric 4294967295',
  'ip route add unreachable 127.0.0.0/8',
  ...cidrs.filter((cidr) => !cidr.includes(':') && !cidr.startsWith('127.'))
    .map((cidr) => `ip route replace ${cidr} via ${machineAddress}`)
]
