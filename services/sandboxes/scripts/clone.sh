# Fills the working directory $1 from the repository $2: its branch $3, or its default branch when that is empty; only
# the last $4 commits, or all when that is empty. What was cloned before is left as it is. The token is in the
# environment, where git asks for it: in no argument and no file.
export LC_ALL=C GIT_TERMINAL_PROMPT=0
unset GIT_DIR GIT_WORK_TREE GIT_COMMON_DIR GIT_INDEX_FILE GIT_OBJECT_DIRECTORY
command -v git >/dev/null || exit 91
cd -- "$1" || exit 1
# Another user may own it: git reads the file, and no repository.
is_clone () { [ "$(git config --file "$1/.git/config" --get remote.origin.url)" = "$2" ] || exit 92; }
if [ -e .git ]; then
  is_clone . "$2"
  echo kept
  exit 0
fi
# All of a clone, except for what is in its place already, when its end was interrupted.
whole=./.cloning.done
if [ ! -e "$whole" ]; then
  rm -rf ./.cloning.*
  [ -z "$(find . -mindepth 1 -maxdepth 1 ! -name .claude-sandbox ! -name lost+found | head -n 1)" ] || exit 92
  new=./.cloning.$$
  trap 'rm -rf "$new"' EXIT
  # For the repository's host alone, also when it is asked over HTTPS after all: a server, or what the repository has for
  # Git LFS, may lead to any other.
  # shellcheck disable=SC2016 # Git expands it.
  helper='!f () { [ -z "$GIT_TOKEN" ] || { echo "username=${GIT_USERNAME:-x-access-token}"; echo "password=$GIT_TOKEN"; }; }; f'
  host=${2#*://}
  host=${host%%/*}
  git -c credential.helper= -c "credential.${2%%://*}://$host.helper=$helper" -c "credential.https://$host.helper=$helper" \
    clone --quiet --origin=origin ${3:+--branch="$3"} ${4:+--depth="$4"} -- "$2" "$new" || exit 93
  mv -- "$new" "$whole" || exit 1
fi
is_clone "$whole" "$2"
# What these have is not the repository's.
for own in .claude-sandbox lost+found; do [ ! -e "$own" ] || rm -rf "${whole:?}/$own"; done
# Its own data come last: with them, all is there.
find "$whole" -mindepth 1 -maxdepth 1 ! -name .git -exec sh -c 'mv -- "$@" .' sh {} + || exit 1
mv -- "$whole/.git" . && rmdir "$whole" || exit 1
echo cloned
