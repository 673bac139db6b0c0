import { status } from '@grpc/grpc-js'
import t from 'tap'
import { inboundCheck, parseCidr } from '../../../emulator/tunnels/inbound.js'

t.test('A range is an address without host bits and a prefix', async (t) => {
  for (const text of [
    '10.0.0.0/8', '10.128.0.0/9', '1.2.3.4/32', '0.0.0.0/0', '::/0', 'fe80::/10', 'fd00:1::/32', '::1/128', '1:2:3:4:5:6:7:8/128',
    '1:2:3:4::/64', '::ffff:10.0.0.0/104', '1::8/125'
  ]) t.match(parseCidr(text), { address: text.split('/')[0]!, prefix: Number(text.split('/')[1]) }, text)
  for (const text of [
    '', '10.0.0.0', '10.0.0.0/33', '10.0.0.0/', '::/129', 'fe80::%lo/64', 'fe80::1%lo/128', 'x/8', '10.1.2.3/8', '10.128.0.0/8', '0.0.0.1/0',
    '1.2.3.4/31x', '1.2.3.5/31', 'fe80::1/64', '1:2:3:4:5:6:7:8/127x', '1:2:3:4:5:6:7:9/127', '::ffff:10.0.0.1/104', '1::9/125'
  ]) {
    const message = new RegExp(`^Invalid CIDR: ${text.replaceAll('.', '\\.')}`)
    t.throws(() => parseCidr(text), { code: status.INVALID_ARGUMENT, message }, text)
  }
})

t.test('Who may connect is who is in a range', async (t) => {
  const allows = inboundCheck(['10.128.0.0/9', 'fd00::/8'])
  t.same(['10.128.0.1', '10.127.0.1', 'fd12::1', 'fe80::1', undefined, 'x'].map(allows), [true, false, true, false, false, false])
  t.ok(inboundCheck([])(undefined))
})
