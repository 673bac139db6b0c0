#!/bin/sh
# Runs shellcheck over every script of the repository. .shellcheckrc says what is left out of it, and why.
cd "$(dirname "$0")/.." || exit 1
if ! command -v shellcheck > /dev/null; then
  echo 'shellcheck is not installed (on Debian bash .ci/install installs it): no script was checked'
  [ -z "$CI" ]
  exit
fi
# Those that run in a sandbox have dash or busybox there, whatever this machine has.
find . -name node_modules -prune -o -name dist -prune -o -name .data -prune -o -name .tap -prune -o \
  -name '*.sh' -exec shellcheck -s sh {} + && shellcheck .ci/*
