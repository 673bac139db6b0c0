import { WorkspaceLost } from './workspace.js'

/** Exit codes of the scripts, beside those of what they call. */
export const scriptExit = { noRoot: 3, noTools: 8, cut: 9 }

const longestComplaints = 32 * 1024

/**
 * Common to all scripts; `$1` is the workspace. Only what GNU's and busybox' userland share is used. A record ends its
 * name with `//`, which no path from find has, so a name may hold anything else, line breaks included. `%.9Y` gives
 * GNU's stat a fraction; busybox has none.
 */
export const prologue = `
export LC_ALL=C
cd "$1" 2>/dev/null || exit ${scriptExit.noRoot}
format='%n//%f %s %Y %Z %u %g'
case $(stat -c %.9Y . 2>/dev/null) in *.*) format='%n//%f %s %.9Y %.9Z %u %g';; '') exit ${scriptExit.noTools};; esac
look () { stat -c "$format" "$@" 2>/dev/null; echo //; }
now () { case $(date +%s.%N) in *[!0-9.]*|*.) date +%s;; *) date +%s.%N;; esac; }
`

/** Records of everything in the workspace, what find's exit code is, and what it complains about, to a line of `//`. */
export const listScript = `
list () {${prologue}
  find . -exec stat -c "$format" {} +
}
exec 3>&1
complaints=$(list "$1" 2>&1 >&3)
echo "//$?"
printf '%.${longestComplaints}s\\n//\\n' "$complaints"`

/**
 * Reads a script from standard input whose lines are `batch 'name' 'name'...`. For each it writes the time, records, an
 * archive of the files, and records again: who compares the records knows which files did not change meanwhile.
 * busybox' tar gives up in the middle of a file that got shorter, so what follows would not be understood.
 */
export const readScript = `${prologue}
exec 3>&1
options=
tar --version 2>/dev/null | grep -q GNU && options='--format=gnu --hard-dereference --no-recursion --no-unquote'
batch () {
  now
  look "$@"
  complaint=$(tar $options -cf - "$@" 2>&1 >&3)
  code=$?
  [ $code -lt 126 ] || exit ${scriptExit.noTools}
  case $complaint in *'short read'*) exit ${scriptExit.cut};; esac
  look "$@"
} < /dev/null
`

/** One large file as it is, after its record; `$2` is its name. */
export const readLargeScript = `${prologue}
now
look "$2"
exec cat "$2"`

/** One record; `$2` is the name. */
export const statScript = `${prologue}
now
look "$2"`

export const writeScript = `
export LC_ALL=C
mkdir -p "$1" && cd "$1" || exit ${scriptExit.noRoot}
exec tar -xpof -`

/** Reads a script whose lines are `drop 'name'...`. */
export const removeScript = `${prologue}
drop () {
  for name in "$@"; do
    if [ -d "$name" ] && [ ! -h "$name" ]; then rmdir "$name"; else rm -f "$name"; fi
  done
} < /dev/null
`

/** Reads a script whose lines are `hash 'name'...` or, for a name that sha256sum prints otherwise, `odd 'name' n`. */
export const hashScript = `${prologue}
hash () { sha256sum "$@" 2>/dev/null; } < /dev/null
odd () { sum=$(sha256sum < "$1" 2>/dev/null) && printf '%s  %s\\n' "\${sum%% *}" "$2"; }
`

/** A word that no shell takes for anything but itself. */
export function quote (path: string): string {
  return `'./${path.replaceAll('\'', '\'\\\'\'')}'`
}

/** Lines of a script that call a function of it with names, at most so many bytes of them at once. */
export function calls (name: string, paths: string[], most = 256, bytes = 64 * 1024): string {
  const lines: string[] = []
  let words: string[] = []
  let length = 0
  for (const path of paths) {
    const word = quote(path)
    if (words.length >= most || length + word.length > bytes) {
      lines.push(`${name} ${words.join(' ')}\n`)
      words = []
      length = 0
    }
    words.push(word)
    length += word.length
  }
  if (words.length > 0) lines.push(`${name} ${words.join(' ')}\n`)
  return lines.join('')
}

/** Why a script has ended before it has said all. */
export function lostReason (exitCode: number, stderr: string): WorkspaceLost {
  if (exitCode === scriptExit.noRoot) return new WorkspaceLost('the workspace directory does not exist or may not be read')
  if (exitCode === scriptExit.noTools) return new WorkspaceLost('the image lacks find, stat, tar or cat')
  return new WorkspaceLost(`a command in the sandbox ended with ${exitCode}: ${stderr.slice(0, 300)}`)
}
