# shellcheck shell=bash
# Shared by the scripts in this folder: source it, do not run it. Needs bash with `set -euo pipefail` in the caller.

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

# need_packages PACKAGE...: installs those Debian packages that are missing, as root or through sudo. Where there is no dpkg it
# says what is needed and goes on: the tools may have come from elsewhere.
need_packages() {
  if ! command -v dpkg-query >/dev/null 2>&1; then
    note "not a Debian system: assuming that these are here already: $*"
    return 0
  fi
  local package missing=()
  for package in "$@"; do
    [[ $(dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null || true) == ?i* ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0

  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null 2>&1 || die "neither root nor sudo here; please install: ${missing[*]}"
    as_root=(sudo)
  fi
  note "installing ${missing[*]}"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq update || die "apt-get update failed"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null ||
    die "could not install: ${missing[*]}"
}

# show_progress LOG: how far ninja is, of which the log knows; on a terminal all the time, elsewhere once a minute.
show_progress() {
  local every=60 before='  ' after='\n'
  [[ ! -t 1 ]] || every=1 before='\r\e[K  ' after=''
  while sleep "$every" &>/dev/null && kill -0 $$ 2>/dev/null; do
    # shellcheck disable=SC2059 # the format is made above
    printf "$before%s$after" "$(grep -o '^\[[0-9]*/[0-9]*\].*' "$1" 2>/dev/null | tail -n 1 | cut -c 1-100)"
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
