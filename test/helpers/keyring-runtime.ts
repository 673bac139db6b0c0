import { openRuntime, sh, startContainer } from './containers.js'

/**
 * Two containers of one server on x86-64: the first stores keys where a process may, the second looks for them there,
 * tries to get the keyrings of the given numbers, and runs a program. Prints what the second got.
 */
const [directory, program, ...keyrings] = process.argv.slice(2)
const { runtime, close } = await openRuntime(directory)
const [one, other] = [await startContainer(runtime, { id: 'one' }), await startContainer(runtime, { id: 'other' })]
const perl = (script: string) => `perl -e '${script}'`
await sh(one, perl('$type = "user"; $value = "secret"; syscall 248, $type, "key$_", $value, 6, $_ for -3, -4, -5'))
const { out } = await sh(other, `${perl(`$| = 1; $type = "user";
  for $ring (-3, -4, -5) {
    for (-3, -4, -5) { print "key$_ " if syscall(250, 10, $ring, $type, "key$_", 0) > 0 }
  }
  for (${keyrings.join(', ')}) { print "keyring " if syscall(250, 8, $_, -2) >= 0 or syscall(250, 11, $_, 0, 0) >= 0 }`)}
  echo '${program}' | base64 -d > /program; chmod +x /program; /program; echo "status $?"`)
process.stdout.write(out)
await close()
