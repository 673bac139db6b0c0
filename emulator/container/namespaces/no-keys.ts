/**
 * The kernel's keys belong to no namespace: a process reaches those of its user's other processes, on the host and in
 * other sandboxes, through a session keyring that it has inherited, or by their numbers. So the system calls that deal
 * with keys are refused.
 */
export const [load, jumpIfEqual, jumpIfAtLeast, jumpIfAbove, and, answer] = [0x20, 0x15, 0x35, 0x25, 0x54, 0x06]
export const [offsetOfNumber, offsetOfAbi] = [0, 4]
export const allow = 0x7fff0000
const operationNotPermitted = 0x50001
/** Of an x86-64 kernel's third ABI, x32. */
const x32Bit = 0x40000000

/** The numbers of add_key, request_key and keyctl follow each other; first and last, by the ABI. */
const calls: Array<[abi: number, first: number, last: number]> = [
  [0xc000003e, 248, 250], [0x40000003, 286, 288], // x86-64, i386
  [0xc00000b7, 217, 219], [0x40000028, 309, 311] // arm64, arm
]

const filter = Buffer.concat([
  instruction(load, offsetOfAbi),
  ...calls.flatMap(([abi, first, last]) => [
    instruction(jumpIfEqual, abi, 0, 6),
    instruction(load, offsetOfNumber),
    instruction(and, ~x32Bit >>> 0),
    instruction(jumpIfAtLeast, first, 0, 2),
    instruction(jumpIfAbove, last, 1, 0),
    instruction(answer, operationNotPermitted),
    instruction(answer, allow)
  ]),
  instruction(answer, allow)
])

export function instruction (code: number, value: number, ifTrue = 0, ifFalse = 0): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeUInt16LE(code)
  bytes.writeUInt8(ifTrue, 2)
  bytes.writeUInt8(ifFalse, 3)
  bytes.writeUInt32LE(value, 4)
  return bytes
}

/**
 * Perl is the one program of every Debian that can make a system call by its number: seccomp, for a filter without the
 * slower speculation that old kernels combine it with.
 */
export const seccomp = process.arch === 'x64' ? 317 : 277
const script = `$filter = pack "H*", shift; $program = pack "S x!8 P", length($filter) / 8, $filter;
syscall(${seccomp}, 1, 4, $program) == 0 or die "the kernel's keys could not be put out of reach: $!\\n";
delete @ENV{grep { $_ ne "PATH" } keys %ENV};
exec { $ARGV[0] } @ARGV or die "$ARGV[0]: $!\\n"`

/**
 * Prefix of a command line, which has to have all capabilities in its user namespace. Of its environment it keeps PATH:
 * `env -i` before each command would be one more program to start.
 */
export const withoutKeys = (perl: string): string[] => [perl, '-e', script, filter.toString('hex')]
