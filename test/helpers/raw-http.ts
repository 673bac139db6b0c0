import { connect } from 'node:net'

export interface RawAnswer {
  /** 0: the connection was closed, or nothing came for `patienceMs`, without an answer. */
  status: number
  /** By name in small letters. */
  headers: Record<string, string>
  body: string
  /** Everything that came, as it came. */
  text: string
}

/** Sends bytes that need not be HTTP, and reads the answer to its end, or until the connection is closed. */
export async function sendRaw (
  { port, from = '127.0.0.1', bytes, patienceMs = 5000 }:
  { port: number, from?: string, bytes: string | Buffer, patienceMs?: number }
): Promise<RawAnswer> {
  const chunks: Buffer[] = []
  await new Promise<void>((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', localAddress: from })
    socket.setTimeout(patienceMs, () => socket.destroy())
    socket.on('data', (chunk) => {
      chunks.push(chunk)
      if (isWhole(parse(Buffer.concat(chunks).toString('latin1')))) socket.destroy()
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve())
    socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  })
  return parse(Buffer.concat(chunks).toString('latin1'))
}

function isWhole ({ status, headers, text }: RawAnswer): boolean {
  if (status === 0) return false
  const length = text.length - text.indexOf('\r\n\r\n') - 4
  return headers['content-length'] === undefined ? text.endsWith('0\r\n\r\n') : length >= Number(headers['content-length'])
}

function parse (text: string): RawAnswer {
  const end = text.indexOf('\r\n\r\n')
  const [, status] = /^HTTP\/1\.1 (\d{3}) /.exec(text) ?? []
  if (status === undefined || end < 0) return { status: 0, headers: {}, body: '', text }
  // An interim answer comes before the real one.
  if (status === '100') return parse(text.slice(end + 4))
  const headers = Object.fromEntries(text.slice(0, end).split('\r\n').slice(1).map((line) => {
    const colon = line.indexOf(':')
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
  }))
  // What follows a broken request may be answered, too.
  const length = headers['content-length'] === undefined ? undefined : end + 4 + Number(headers['content-length'])
  return { status: Number(status), headers, body: Buffer.from(text.slice(end + 4, length), 'latin1').toString(), text }
}
