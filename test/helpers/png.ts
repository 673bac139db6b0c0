import { crc32, deflateSync } from 'node:zlib'

/** A picture. @param pixels three bytes each, red without them. */
export function png (width: number, height: number, pixels?: Buffer): Buffer {
  const rows = Array.from({ length: height }, (_, y) => {
    const row = pixels?.subarray(3 * width * y, 3 * width * (y + 1))
    return Buffer.concat([Buffer.from([0]), row ?? Buffer.alloc(3 * width, Buffer.from([200, 0, 0]))])
  })
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  // Eight bits of each colour, no transparency.
  header.set([8, 2, 0, 0, 0], 8)
  const chunks = [chunk('IHDR', header), chunk('IDAT', deflateSync(Buffer.concat(rows))), chunk('IEND', Buffer.alloc(0))]
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), ...chunks])
}

function chunk (type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type), data])
  const ends = Buffer.alloc(8)
  ends.writeUInt32BE(data.length, 0)
  ends.writeUInt32BE(crc32(body), 4)
  return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)])
}
