# Installs the Claude CLI into an image that lacks it, and the programs that a run needs beside it.
# usage: install-claude.sh <version> <URL of an npm registry>
# What the image has is used as it is. Exits 1, with the reason as the last line, where that cannot be.
set -u
version=$1 registry=$2
user_directory=${HOME:-/root}/.local/bin
PATH=$PATH:/opt/claude/bin:$user_directory

has () { command -v "$1" > /dev/null 2>&1; }
fail () {
  echo "Claude cannot be installed in this image: $1. Set image.claude to false; dockerfileCommands can install it then." >&2
  exit 1
}

# usage: install <program>..., each by the name that the image's package manager has for it
install () {
  if has apt-get; then
    packages=
    for program; do
      case $program in
        awk) packages="$packages mawk";;
        curl) packages="$packages curl ca-certificates";;
        find) packages="$packages findutils";;
        script) packages="$packages bsdutils";;
        *) packages="$packages $program";;
      esac
    done
    # shellcheck disable=SC2086 # several packages
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages && rm -rf /var/lib/apt/lists/*
  elif has apk; then
    # shellcheck disable=SC2046 # several packages
    apk add --no-cache $(printf 'cmd:%s ' "$@")
  else
    for manager in dnf microdnf yum ''; do has "$manager" && break; done
    [ -n "$manager" ] || fail "it lacks $*, and has neither apt-get, apk, dnf nor yum to install it"
    # shellcheck disable=SC2046 # several packages
    "$manager" install -y $(printf '/usr/bin/%s ' "$@")
  fi || fail "$* could not be installed by its user $(id -u)"
}

# busybox's wget does not check whom it talks to.
wget_checks () { wget --version 2>/dev/null | grep -q GNU; }
# usage: download <URL> <file>
download () {
  if has curl; then
    curl -fsSL --connect-timeout 20 --retry 3 -o "$2" "$1"
  elif has wget && { wget_checks || [ "${1#http://}" != "$1" ]; }; then
    wget -q -O "$2" "$1"
  elif has node && node -e 'process.exit(typeof fetch === "function" ? 0 : 1)'; then
    # shellcheck disable=SC2016 # it is JavaScript
    node -e 'fetch(process.argv[1]).then(({ ok, status, body }) => {
      if (!ok) throw new Error(`status ${status}`)
      return require("fs/promises").writeFile(process.argv[2], require("stream").Readable.fromWeb(body))
    }).catch((error) => { console.error(error); process.exit(1) })' "$1" "$2"
  elif has python3; then
    python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])' "$1" "$2"
  else
    install curl
    download "$1" "$2"
  fi
}

has bash || has zsh || install bash
for program in awk find script; do has $program || install $program; done
if has claude; then
  claude --version || fail 'the one that it has does not start'
  exit
fi

machine=$(uname -m)
case $machine in
  x86_64) cpu=x64 glibc=/lib64/ld-linux-x86-64.so.2;;
  aarch64) cpu=arm64 glibc=/lib/ld-linux-aarch64.so.1;;
  *) fail "there is none for $machine";;
esac
if [ -e $glibc ]; then libc=; elif [ -e "/lib/ld-musl-$machine.so.1" ]; then libc=-musl; else fail 'it has neither glibc nor musl'; fi

has tar || install tar
has gzip || install gzip
directory=/opt/claude/bin
mkdir -p $directory 2>/dev/null || directory=$user_directory
mkdir -p "$directory" || fail "its user $(id -u) can write neither to /opt nor to its home"
archive=$directory/claude.tgz package=claude-code-linux-$cpu$libc
download "$registry/@anthropic-ai/$package/-/$package-$version.tgz" "$archive" ||
  fail "$package $version cannot be downloaded from $registry"
tar -xzOf "$archive" package/claude > "$directory/claude" || fail "what $registry has as $package $version cannot be unpacked"
rm "$archive"
chmod 755 "$directory/claude"
"$directory/claude" --version || fail 'it does not start here'
# Where commands look for it. What the image installs there itself may take the name.
ln -s "$directory/claude" /usr/local/bin/claude 2>/dev/null || :
