import { BlockList, isIP } from 'node:net'
import { invalid } from '../control/status.js'

export interface Cidr { address: string, prefix: number, family: 'ipv4' | 'ipv6' }

/** @throws {StatusError} INVALID_ARGUMENT */
export function parseCidr (text: string): Cidr {
  const [, address = '', digits = ''] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? []
  const version = isIP(address)
  const prefix = Number(digits)
  if (version === 0 || prefix > (version === 4 ? 32 : 128)) throw invalid(`Invalid CIDR: ${text}`)
  return { address, prefix, family: version === 4 ? 'ipv4' : 'ipv6' }
}

/** Who may connect. @param cidrs empty: everybody */
export function inboundCheck (cidrs: string[]): (address: string | undefined) => boolean {
  if (cidrs.length === 0) return () => true
  const allowed = new BlockList()
  for (const { address, prefix, family } of cidrs.map(parseCidr)) allowed.addSubnet(address, prefix, family)
  return (address = '') => isIP(address) !== 0 && allowed.check(address, isIP(address) === 4 ? 'ipv4' : 'ipv6')
}
