# shellcheck shell=bash
# Shared by the scripts in this folder: source it, do not run it. Needs bash with `set -euo pipefail` in the
# caller.

# Colours on a terminal only; NO_COLOR (any value) switches them off.
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' red=$'\e[31m' green=$'\e[32m' yellow=$'\e[33m' plain=$'\e[0m'
else
  bold='' red='' green='' yellow='' plain=''
fi
export bold red green yellow plain

# Lets ccache work with precompiled headers.
export CCACHE_SLOPPINESS=${CCACHE_SLOPPINESS:-pch_defines,time_macros}

# die MESSAGE...: says why on standard error and ends the script.
die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# note MESSAGE...: one line of progress.
note() {
  printf '%s==>%s %s\n' "$bold" "$plain" "$*"
}

# How the names of Boost's packages end, whose headers must be 1.81 or newer: libboost$boost-dev,
# libboost-json$boost-dev. Of the one that is installed, if it is new enough, because two cannot be. Otherwise
# Debian 12 has 1.81 beside its own, which is older; what later releases have as their own will do.
boost=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' 'libboost1.*-dev' 2>/dev/null |
  sed -nE 's/^installed libboost(1\.(8[1-9]|9[0-9]|[1-9][0-9]{2}))-dev$/\1/p' | sort -V | tail -n 1 || true)
if [[ -z $boost && $(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}") == bookworm ]]; then boost=1.81; fi

# is_installed PACKAGE
is_installed() { [[ $(dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null || true) == ?i* ]]; }

# need_packages PACKAGE...: installs those Debian packages that are missing, as root or through sudo, and
# removes none. Where there is no dpkg it says what is needed and goes on: the tools may have come from
# elsewhere.
need_packages() {
  if ! command -v dpkg-query >/dev/null 2>&1; then
    note "not a Debian system: assuming that these are here already: $*"
    return 0
  fi
  local package missing=()
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  ((${#missing[@]})) || return 0

  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null 2>&1 || die "neither root nor sudo here; please install: ${missing[*]}"
    as_root=(sudo)
  fi
  note "installing ${missing[*]}"
  update_packages
  local gone
  gone=$(in_the_way "${missing[@]}")
  [[ -z $gone ]] ||
    die "to install ${missing[*]}, apt would remove $gone, which may be yours; nothing was changed." \
      "Remove that yourself, or use scripts/on-debian"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-remove --no-install-recommends "${missing[@]}" \
    >/dev/null || die "could not install: ${missing[*]}"
}

# in_the_way PACKAGE...: what apt would remove to install these.
in_the_way() {
  apt-get -qq install -s --no-install-recommends "$@" 2>/dev/null | sed -n 's/^Remv \([^ ]*\).*/\1/p' | paste -sd' '
}

# need_libcxx: libc++ for clang 19; where that would remove another version's, unpacked in build/libcxx. What
# uses it is started by "${with_libcxx[@]}".
with_libcxx=()
need_libcxx() {
  local packages=(libc++-19-dev libc++abi-19-dev)
  if ! command -v dpkg-query >/dev/null 2>&1 || { is_installed "${packages[0]}" && is_installed "${packages[1]}"; }; then
    return 0
  fi
  local as_root=() gone
  ((EUID == 0)) || as_root=(sudo)
  update_packages
  gone=$(in_the_way "${packages[@]}")
  if [[ -z $gone ]]; then
    need_packages "${packages[@]}"
    return 0
  fi
  local root=$PWD/build/libcxx
  if [[ ! -e $root/usr/lib/llvm-19/lib/libunwind.so ]]; then
    note "unpacking ${packages[*]} in build/libcxx: to install them, apt would remove $gone"
    rm -rf "$root"
    mkdir -p "$root"
    (cd "$root" && apt-get -qq -o APT::Sandbox::User=root download "${packages[@]}" libc++1-19 libc++abi1-19 libunwind-19 libunwind-19-dev >/dev/null &&
      for archive in *.deb; do dpkg-deb -x "$archive" .; done) || die "could not unpack ${packages[*]}"
  fi
  with_libcxx=(env "CPLUS_INCLUDE_PATH=$root/usr/lib/llvm-19/include/c++/v1" "LIBRARY_PATH=$root/usr/lib/llvm-19/lib"
    "LD_LIBRARY_PATH=$root/usr/lib/llvm-19/lib")
}

# update_packages: asks the mirror what there is, once a run. Uses the caller's as_root.
updated=''
update_packages() {
  [[ -z $updated ]] || return 0
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq update || die "apt-get update failed"
  updated=1
}

# show_progress LOG: how far ninja is, of which the log knows, and what that means for the rest; on a terminal
# all the time, elsewhere once a minute.
show_progress() {
  local every=60 before='  ' after='\n' step left began=$SECONDS
  [[ ! -t 1 ]] || every=1 before='\r\e[K  ' after=''
  while sleep "$every" &>/dev/null && kill -0 $$ 2>/dev/null; do
    step=$(grep -o '^\[[0-9]*/[0-9]*\].*' "$1" 2>/dev/null | tail -n 1 | cut -c 1-90 || true) left=''
    if [[ $step =~ ^\[([0-9]+)/([0-9]+)\] ]] && ((BASH_REMATCH[1] >= 5)); then
      left=$(((SECONDS - began) * (BASH_REMATCH[2] - BASH_REMATCH[1]) / BASH_REMATCH[1]))
      left=", about $((left / 60 + 1)) min left"
    fi
    # shellcheck disable=SC2059 # the format is made above
    printf "$before%s$after" "$step$left"
  done
}

# quietly LOG COMMAND...: output goes to the log; if the command fails, its end is shown.
quietly() {
  local log=$1 watcher status=0
  shift
  show_progress "$log" &
  watcher=$!
  "$@" >>"$log" 2>&1 || status=$?
  kill "$watcher" 2>/dev/null || true
  wait "$watcher" 2>/dev/null || true
  [[ ! -t 1 ]] || printf '\r\e[K'
  ((status)) || return 0
  printf '%s' "$red"
  printf '%s failed. The end of %s:' "$1 $2" "$log"
  printf '%s\n' "$plain"
  tail -n 80 "$log"
  return 1
}
