# What the environment of an image can do to a script. To be put in front of scripts that run no program of the user's.
set +eufxvCa
unset -f cd unset exec printf echo read find stat tar cat date mkdir ln mv rm rmdir touch readlink head grep sha256sum node
unset LD_PRELOAD LD_AUDIT GLIBC_TUNABLES CDPATH ENV BASH_ENV POSIXLY_CORRECT _POSIX2_VERSION QUOTING_STYLE TZ
unset TAR_OPTIONS GREP_OPTIONS NODE_OPTIONS
export LC_ALL=C
