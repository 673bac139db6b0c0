import t from 'tap'
import { listeningPorts } from '../../../services/sandboxes/ports.js'

const head = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode'
const line = (local: string, state: string, inode: number) =>
  `   0: ${local} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000     0        0 ${inode} 1 0000000000000000 100 0`
const table = (lines: string[], sockets: Array<number | string>) => [head, ...lines, head, 'sockets', ...sockets, ''].join('\n')

t.test('Ports on which the sandbox itself listens are listed once, in their order', async (t) => {
  const any6 = '0'.repeat(32)
  const lines = [
    line('00000000:1F90', '0A', 11), line(`${any6}:1F90`, '0A', 12), line('0100007F:0BB8', '0A', 13),
    line('00000000:0016', '0A', 99), line('0100007F:0BB9', '01', 14), line('0200007F:0BBA', '0A', 15)
  ]
  t.strictSame(listeningPorts(table(lines, [11, 12, 13, 14, 15])), [{ port: 3000 }, { port: 8080 }],
    'not those of others, of connections, or of another address')
})

t.test('Whatever a sandbox says, only ports come of it', async (t) => {
  const many = Array.from({ length: 500 }, (_, index) => line(`00000000:${(index + 1).toString(16).toUpperCase().padStart(4, '0')}`, '0A', 1))
  t.equal(listeningPorts(table(many, [1])).length, 100)
  for (const text of ['', 'sockets', '\nsockets\n', 'x'.repeat(100_000), table(['a b c', line('00000000:<b>', '0A', 1), line('00000000:10000', '0A', 1)], [1])]) {
    t.strictSame(listeningPorts(text), [])
  }
})
