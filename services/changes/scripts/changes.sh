# What git says about the repository of the workdir, and what people do with it: stage, commit, switch branches.
# usage: changes.sh status|diff|stage|unstage|commit|branch <root> <root> <bytes of output at most> [<argument>...]
# The repository is the sandbox's, with whatever its configuration asks for: nothing that it names is run here but its
# filters, without which a file's content could not be compared. Exit codes are explained in script.ts.
action=$1 root1=$2 root2=$3 limit=$4
shift 4

# What would have git look elsewhere, say more, or run something.
unset GIT_DIR GIT_WORK_TREE GIT_COMMON_DIR GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES
unset GIT_NAMESPACE GIT_PREFIX GIT_CONFIG_PARAMETERS GIT_EXTERNAL_DIFF GIT_DIFF_OPTS GIT_TRACE GIT_TRACE2
unset GIT_LITERAL_PATHSPECS GIT_GLOB_PATHSPECS GIT_NOGLOB_PATHSPECS GIT_ICASE_PATHSPECS
export GIT_OPTIONAL_LOCKS=0 GIT_TERMINAL_PROMPT=0 GIT_PAGER=cat GIT_EDITOR=false
command -v git >/dev/null || exit 40

# Whose files they are does not matter: who asks could run any command here. Configuration is for commits and branches.
git () {
  command git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c safe.directory='*' -c commit.gpgSign=false \
    -c gc.auto=0 -c maintenance.auto=false -c submodule.recurse=false -c diff.ignoreSubmodules=dirty \
    -c diff.relative=false -c core.quotePath=true "$@"
}

# Passes on the beginning of what a command says. Ending it there is no failure of its own.
bounded () {
  { code=$({ { "$@" 3>&- 4>&-; echo $? >&3; } | head -c "$limit" >&4; } 3>&1); } 4>&1
  [ "$code" -ne 141 ] || code=0
  return "$code"
}

real1=$(cd -P -- "$root1" 2>/dev/null && pwd -P)
real2=$(cd -P -- "$root2" 2>/dev/null && pwd -P)

# Leaves the path as clients know it in $shown; roots may be links themselves.
within () {
  case ${real1:+${1%/}/} in "${real1%/}"/*) shown=${root1%/}${1#"${real1%/}"}; return 0; esac
  case ${real2:+${1%/}/} in "${real2%/}"/*) shown=${root2%/}${1#"${real2%/}"}; return 0; esac
  return 1
}

cd -P -- "$root1" || exit 44
top=$(git rev-parse --show-toplevel 2>/dev/null) || {
  reason=$(git rev-parse --show-toplevel 2>&1)
  case $reason in *'not a git repository'*|*'must be run in a work tree'*) exit 41; esac
  printf '%s\n' "$reason" >&2
  exit 46
}
cd -P -- "$top" || exit 41
within "$(pwd -P)" || exit 41

compare () {
  git --literal-pathspecs diff --no-color --no-ext-diff --no-textconv --submodule=short --unified=3 --find-renames \
    --src-prefix=a/ --dst-prefix=b/ "$@"
}

# A file that git does not know yet is compared with nothing, by an index of its own. It is git that reads the file,
# which follows no link.
difference () {
  staged=$1 path=$2
  shift
  if [ "$staged" = staged ]; then compare --cached -- "$@"; return; fi
  known=$(git --literal-pathspecs ls-files -- "$path" | head -c 1)
  if [ -n "$known" ]; then compare -- "$@"; return; fi
  [ -L "./$path" ] || [ ! -d "./$path" ] || return 47
  unknown=$(git --literal-pathspecs ls-files --others -- "$path" | head -c 1)
  [ -n "$unknown" ] || return 44
  draft=$(mktemp -d) || return 46
  trap 'rm -rf "$draft"' EXIT
  trap 'exit 46' HUP INT TERM
  export GIT_INDEX_FILE="$draft/index"
  git --literal-pathspecs add --force --intent-to-add -- "$path" && compare -- "$path"
}

# Who commits: as git is configured, and otherwise a name that says where it comes from.
identify () {
  git -c user.useConfigOnly=true var GIT_COMMITTER_IDENT >/dev/null 2>&1 &&
    git -c user.useConfigOnly=true var GIT_AUTHOR_IDENT >/dev/null 2>&1 && return
  name=$(git config user.name) || name='Modal Sandbox'
  email=$(git config user.email) || email=sandbox@localhost
  : "${GIT_AUTHOR_NAME:=$name}" "${GIT_AUTHOR_EMAIL:=$email}" "${GIT_COMMITTER_NAME:=$name}" "${GIT_COMMITTER_EMAIL:=$email}"
  export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL
}

case $action in
  status)
    printf '%s\0' "$shown"
    git for-each-ref --count=200 --sort=-committerdate --format='%(refname:lstrip=2)' refs/heads || exit 46
    printf '\0'
    # Claude's own directory is no work of anybody's.
    bounded git status --porcelain=v2 -z --branch --untracked-files=all --ignore-submodules=dirty --find-renames \
      -- ':(top)' ':(top,exclude,glob)**/.claude-sandbox/**' || exit 46;;
  diff)
    bounded difference "$@"
    code=$?
    case $code in 0|44|47) exit "$code"; esac
    exit 46;;
  stage)
    git --literal-pathspecs add --all --pathspec-from-file=- --pathspec-file-nul || exit 46;;
  unstage)
    git --literal-pathspecs reset -q --pathspec-from-file=- --pathspec-file-nul || exit 46;;
  commit)
    identify
    git commit -q --no-verify --cleanup=whitespace --file=- >&2 || {
      git diff --cached --quiet --no-ext-diff --ignore-submodules=dirty && exit 53
      exit 46
    }
    git rev-parse HEAD || exit 46;;
  branch)
    if [ "$2" = create ]; then git switch -q -c "$1" || exit 46
    else git switch -q --no-guess --no-recurse-submodules "$1" || exit 46; fi;;
esac
