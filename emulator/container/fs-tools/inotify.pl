# Prints what the kernel (inotify) tells of a path: records of `mask cookie path`, each with a NUL at its end, after an
# empty one that says that the watch is set. Node's own watcher can't tell a rename from a creation or a removal. Perl can
# make the system calls, whose numbers are arguments: init, add, remove; then 1 for all directories below, and the path.
# It loads nothing, not even `strict`: an image may have no Perl.
my ($init, $add, $remove, $recursive, $root) = @ARGV;
my $mask = 0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800;
my ($moved_from, $moved_to, $created, $ignored, $is_directory) = (0x40, 0x80, 0x100, 0x8000, 0x40000000);
my $descriptor = syscall($init + 0, 0);
fail() if $descriptor < 0;
my %paths;

sub fail { my $number = $! + 0; print STDERR "$number\n"; exit 1 }

sub watch {
  my ($path) = @_;
  my $watch = syscall($add + 0, $descriptor, $path, $mask);
  return 0 if $watch < 0;
  $paths{$watch} = $path;
  return 1 unless $recursive && opendir(my $directory, $path);
  for my $name (grep { $_ ne '.' && $_ ne '..' } readdir $directory) {
    my $below = $path eq '/' ? "/$name" : "$path/$name";
    # A directory that is removed meanwhile, or may not be read, has nothing to tell.
    watch($below) if !-l $below && -d _;
  }
  return 1;
}

sub forget {
  my ($path) = @_;
  for my $watch (grep { $paths{$_} eq $path || index($paths{$_}, "$path/") == 0 } keys %paths) {
    syscall($remove + 0, $descriptor, $watch + 0);
    delete $paths{$watch};
  }
}

fail() unless watch($root);
$| = 1;
print "\0";
open my $events, '<&=', $descriptor or fail();
while (sysread $events, my $buffer, 65536) {
  my $output = '';
  while (length $buffer) {
    my ($watch, $what, $cookie, $length) = unpack 'i L L L', $buffer;
    my $name = unpack 'Z*', substr $buffer, 16, $length;
    $buffer = substr $buffer, 16 + $length;
    if ($what & $ignored) { delete $paths{$watch}; next }
    my $path = exists $paths{$watch} ? $paths{$watch} : $root;
    $path = $path eq '/' ? "/$name" : "$path/$name" if $name ne '';
    $output .= "$what $cookie $path\0";
    next unless $recursive && $what & $is_directory && $name ne '';
    forget($path) if $what & $moved_from;
    watch($path) if $what & ($created | $moved_to);
  }
  print $output;
}
