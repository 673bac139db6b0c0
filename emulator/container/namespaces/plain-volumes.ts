import { allow, answer, instruction, jumpIfEqual, load, offsetOfAbi, offsetOfNumber, seccomp } from './no-keys.js'

/**
 * Volumes without hard links, FIFOs and locks. A seccomp filter knows numbers, not paths: so these system calls wait
 * until a monitor, which sees the machine's `/proc`, has looked where they lead.
 */
const notify = 0x7fc00000
const isX64 = process.arch === 'x64'
const abi = isX64 ? 0xc000003e : 0xc00000b7
const calls = isX64
  ? { linkat: 265, mknodat: 259, flock: 73, fcntl: 72, link: 86, mknod: 133, ppoll: 271 }
  : { linkat: 37, mknodat: 33, flock: 32, fcntl: 25, link: -1, mknod: -1, ppoll: 73 }
/** F_GETLK, F_SETLK and F_SETLKW, and those of open file descriptions. */
const lockCommands = [5, 6, 7, 36, 37, 38]
/** The low half of the second argument: numbers in memory are little-endian. */
const offsetOfCommand = 16 + 8

const ifEqual = (value: number) => [instruction(jumpIfEqual, value, 0, 1), instruction(answer, notify)]
const { linkat, mknodat, flock, fcntl, link, mknod, ppoll } = calls
const filter = Buffer.concat([
  instruction(load, offsetOfAbi),
  instruction(jumpIfEqual, abi, 1, 0),
  instruction(answer, allow),
  instruction(load, offsetOfNumber),
  ...[linkat, mknodat, flock, link, mknod].filter((number) => number >= 0).flatMap(ifEqual),
  instruction(jumpIfEqual, fcntl, 0, 1 + 2 * lockCommands.length),
  instruction(load, offsetOfCommand),
  ...lockCommands.flatMap(ifEqual),
  instruction(answer, allow)
])

/**
 * The monitor is nobody's child, as the children of a command's process are looked for. It ends with the last process
 * that has the filter. It has the container's root for its own, so that links lead where they do there, and the
 * machine's `/proc` open. Paths through `/proc/self` it does not follow. `EPERM` (1) is what gVisor answers, `ENOLCK`
 * (37) a file system without locks.
 */
const script = `use strict; my ($filter, $init, $paths) = splice @ARGV, 0, 3;
pipe my $told, my $tell or die $!; pipe my $ready, my $answer or die $!; my $main = $$;
my $between = fork; defined $between or die $!;
if ($between) {
  waitpid $between, 0; close $answer; my $bytes = pack "H*", $filter;
  my $program = pack "S x!8 P", length($bytes) / 8, $bytes;
  my $listener = syscall(${seccomp}, 1, 12, $program);
  $listener >= 0 or die "links and locks could not be watched: $!\\n";
  syswrite $tell, "$listener\\n"; sysread($ready, my $said, 1) or die "the watch over links and locks has failed\\n";
  exec { $ARGV[0] } @ARGV or die "$ARGV[0]: $!\\n";
}
exit if fork;
open STDIN, "<", "/dev/null"; open STDOUT, ">", "/dev/null"; open STDERR, ">", "/dev/null";
if (open my $inherited, "<&=", 3) { close $inherited }
close $tell; close $ready; my $theirs = <$told> or exit;
my $pidfd = syscall(434, $main, 0); my $listener = syscall(438, $pidfd, $theirs + 0, 0);
$listener >= 0 or exit; open my $calls, "+<&=", $listener or exit; syswrite $answer, "x"; close $answer;
my @volumes = map { pack "H*", $_ } split /,/, $paths;
opendir my $processes, "/proc" or exit; chroot "/proc/$init/root" or exit;
sub is_volume { my $device = (stat shift)[0]; defined $device or return 0;
  grep { my $its = (stat)[0]; defined $its && $its == $device } @volumes }
sub leads_to_volume { my ($pid, $directory, $address) = @_; my $path;
  open my $memory, "<", "$pid/mem" or return 0; sysseek $memory, $address, 0; sysread $memory, $path, 4096;
  $path =~ s/\\0.*//s; $path =~ s{/+$}{}; my $parent = $path =~ m{^(.*/)} ? $1 : ".";
  chdir "$pid/" . (unpack("l", pack "l", $directory & 0xffffffff) == -100 ? "cwd" : "fd/$directory") if $parent !~ m{^/};
  is_volume($parent) }
for (;;) {
  my $poll = pack "i s s", $listener, 1, 0; syscall(${ppoll}, $poll, 1, 0, 0, 8); my $events = (unpack "i s s", $poll)[2];
  if (!($events & 1)) { exit if $events; next }
  my $call = "\\0" x 80; ioctl $calls, 0xc0502100, $call or next;
  my ($id, $pid, undef, $number, undef, undef, @arguments) = unpack "Q L L l L Q Q6", $call;
  chdir $processes; my $error = 0; my $is_fifo = sub { ($_[0] & 0170000) == 010000 };
  if ($number == ${linkat}) { $error = 1 if leads_to_volume($pid, @arguments[2, 3]) }
  elsif ($number == ${link}) { $error = 1 if leads_to_volume($pid, -100, $arguments[1]) }
  elsif ($number == ${mknodat}) { $error = 1 if $is_fifo->($arguments[2]) && leads_to_volume($pid, @arguments[0, 1]) }
  elsif ($number == ${mknod}) { $error = 1 if $is_fifo->($arguments[1]) && leads_to_volume($pid, -100, $arguments[0]) }
  else { $error = 37 if is_volume("$pid/fd/$arguments[0]") }
  ioctl $calls, 0xc0182101, pack "Q q l L", $id, 0, -$error, $error ? 0 : 1;
}`

/**
 * Prefix of a command line: links and FIFOs can't be made on these volumes, nor locks taken.
 * @param initPid of the container's first process. @param paths of the volumes in the container
 */
export const withPlainVolumes = (perl: string, initPid: number, paths: string[]): string[] =>
  [perl, '-e', script, filter.toString('hex'), String(initPid), paths.map((path) => Buffer.from(path).toString('hex')).join()]
