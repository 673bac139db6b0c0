/** Programs for x86-64 without a compiler. */

/** A static executable, in memory that can be written. */
function executable (code: number[]): Buffer {
  const [codeAt, address] = [120, 0x400000]
  const header = Buffer.alloc(codeAt)
  Buffer.from('7f454c460201010000000000000000000200' + '3e0001000000', 'hex').copy(header)
  for (const [at, value] of [[24, address + codeAt], [32, 64]] as const) header.writeBigUInt64LE(BigInt(value), at)
  for (const [at, value] of [[52, 64], [54, 56], [56, 1]] as const) header.writeUInt16LE(value, at)
  header.writeUInt32LE(1, 64)
  header.writeUInt32LE(7, 68)
  const size = codeAt + code.length
  for (const [at, value] of [[80, address], [88, address], [96, size], [104, size + 0x10000], [112, 0x1000]] as const) {
    header.writeBigUInt64LE(BigInt(value), at)
  }
  return Buffer.concat([header, Buffer.from(code)])
}

function int32 (value: number): number[] {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  return [...bytes]
}

const syscall = [0x0f, 0x05]
const eax = (value: number) => [0xb8, ...int32(value)]
const edi = (value: number) => [0xbf, ...int32(value)]
const esi = (value: number) => [0xbe, ...int32(value)]

/** Its first thread ends at once, and a second one waits for ever: the process looks like a zombie. */
export function leaderless (): Buffer {
  // clone with a stack of its own: VM, FS, FILES, SIGHAND and THREAD
  const rest = [0x31, 0xd2, 0x4d, 0x31, 0xd2, 0x4d, 0x31, 0xc0]
  const clone = [...edi(0x10f00), ...esi(0x408000), ...rest, ...eax(56), ...syscall]
  const exit = [0x31, 0xff, ...eax(60), ...syscall]
  const pause = [...eax(34), ...syscall, 0xeb, 0xf7]
  // test eax, eax; jz to the second thread's part
  return executable([...clone, 0x85, 0xc0, 0x74, exit.length, ...exit, ...pause])
}

/** Makes a system call of the 32-bit kind, by its number there, and exits with its error. */
export function call32 (number: number, first: number, second: number): Buffer {
  // in ebx, ecx, edx, esi and edi
  const values = [0xbb, ...int32(first), 0xb9, ...int32(second), 0x31, 0xd2, 0x31, 0xf6, 0x31, 0xff]
  // int 0x80; neg eax; mov edi, eax
  return executable([...values, ...eax(number), 0xcd, 0x80, 0xf7, 0xd8, 0x89, 0xc7, ...eax(231), ...syscall])
}
