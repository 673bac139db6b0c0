import { BlockList, isIP } from 'node:net'
import { invalid } from '../control/status.js'

export interface Cidr { address: string, prefix: number, family: 'ipv4' | 'ipv6' }

/**
 * @throws {StatusError} INVALID_ARGUMENT; also for an address with a zone or with host bits, to which Linux takes no
 * route
 */
export function parseCidr (text: string): Cidr {
  const [, address = '', digits = ''] = /^([^/%]+)\/(\d{1,3})$/.exec(text) ?? []
  const version = isIP(address)
  const prefix = Number(digits)
  if (version === 0 || prefix > (version === 4 ? 32 : 128)) throw invalid(`Invalid CIDR: ${text}`)
  const cidr: Cidr = { address, prefix, family: version === 4 ? 'ipv4' : 'ipv6' }
  if (hasHostBits(cidr)) throw invalid(`Invalid CIDR: ${text} (it has host bits set)`)
  return cidr
}

/** Whether there are bits behind the prefix. */
function hasHostBits ({ address, prefix, family }: Cidr): boolean {
  const bytes = family === 'ipv4' ? address.split('.').map(Number) : ipv6Bytes(address)
  return bytes.some((byte, index) => (byte & (0xff >> Math.min(8, Math.max(0, prefix - 8 * index)))) !== 0)
}

function ipv6Bytes (address: string): number[] {
  // A URL has it without an IPv4 address at its end.
  const [head, tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::')
  const [before, after] = [head, tail].map((text) => text ? text.split(':').map((group) => Number.parseInt(group, 16)) : [])
  const groups = [...before!, ...Array<number>(8 - before!.length - after!.length).fill(0), ...after!]
  return groups.flatMap((group) => [group >> 8, group & 0xff])
}

/** Who may connect. @param cidrs empty: everybody */
export function inboundCheck (cidrs: string[]): (address: string | undefined) => boolean {
  if (cidrs.length === 0) return () => true
  const allowed = new BlockList()
  for (const { address, prefix, family } of cidrs.map(parseCidr)) allowed.addSubnet(address, prefix, family)
  return (address = '') => isIP(address) !== 0 && allowed.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6')
}
