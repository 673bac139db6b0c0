import { join } from 'node:path'
import { shellQuote } from '../../lib/shell.js'

/** A range that no list is meant for (RFC 2544: benchmarks), for the network between a sandbox and its way out. */
const range = '198.18.0.0/24'
const gateway = '198.18.0.2'
/** Passes questions on to the machine's name servers. */
const nameServer = '198.18.0.3'

/**
 * Makes a network of its own, as the file `network` in `directory`. `slirp4netns` is its way out; there are routes to
 * the allowed addresses only, which a container, without privileges in that network, can't change. It never leads to
 * the machine's loopback. `slirp4netns` unmounts things for itself (`--enable-sandbox`), but not for the container.
 */
export function networkScript (directory: string, cidrs: string[]): string {
  const [network, ready] = [shellQuote(join(directory, 'network')), shellQuote(join(directory, 'network-ready'))]
  const routes = cidrs.filter((cidr) => !cidr.includes(':')).map((cidr) => `ip route replace ${cidr} via ${gateway}`)
  return `: > ${network}; unshare --net=${network} true
mkfifo ${ready}
setpriv --pdeathsig KILL unshare -m --propagation private slirp4netns --netns-type=path --configure --mtu=65520 \
  --cidr=${range} --disable-host-loopback --enable-sandbox --ready-fd=3 ${network} tap0 3> ${ready} > /dev/null &
read -r up < ${ready} || true
[ "$up" = 1 ] || { echo 'slirp4netns could not make the network' >&2; exit 1; }
nsenter --net=${network} sh -ec ${shellQuote(['ip link set lo up', 'ip route del default',
    'ip route add unreachable default metric 4294967295', ...routes].join('\n'))}
names='nameserver ${nameServer}'`
}
