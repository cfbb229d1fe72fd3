#!/bin/sh
# Installs the programs of a release for this user: downloads the archive of this system, compares its SHA-256, and copies
# programs, manual pages and completions below ~/.local.
# Usage: install.sh [--version X.Y.Z] [--prefix FOLDER]
#   --version  the release; by default the newest
#   --prefix   where bin/ and share/ are; by default ~/.local
# SMOLTALK_RELEASES is the address of the releases (https://github.com/OWNER/NAME/releases); a published script knows its own.
set -eu

releases=${SMOLTALK_RELEASES:-@RELEASES@}
version=
prefix=${HOME:?HOME is not set}/.local

fail() {
  printf 'install.sh: %s\n' "$1" >&2
  exit 1
}

# Everything is in functions that the last line calls: a download that was cut off runs nothing.
read_arguments() {
  while [ $# -gt 0 ]; do
    case $1 in
      --version) [ $# -ge 2 ] || fail "--version needs a value"; version=$2; shift 2 ;;
      --prefix) [ $# -ge 2 ] || fail "--prefix needs a value"; prefix=$2; shift 2 ;;
      *) fail "\`$1\` is no option; give --version X.Y.Z or --prefix FOLDER" ;;
    esac
  done
  case $releases in
    @*) fail "set SMOLTALK_RELEASES to the address of the releases" ;;
  esac
}

this_system() {
  [ "$(uname -s)" = Linux ] || fail "there are programs for Linux only; build from source elsewhere"
  machine=$(uname -m)
  case $machine in
    x86_64 | aarch64) printf '%s-linux' "$machine" ;;
    *) fail "there are no programs for $machine; build from source" ;;
  esac
}

# fetch ADDRESS FILE
fetch() {
  if command -v curl >/dev/null 2>&1; then
    curl --fail --location --silent --show-error --output "$2" "$1" || fail "cannot download $1"
  elif command -v wget >/dev/null 2>&1; then
    wget --quiet --output-document="$2" "$1" || fail "cannot download $1"
  else
    fail "neither curl nor wget is installed"
  fi
}

sha256() {
  if command -v sha256sum >/dev/null 2>&1; then
    sha256sum "$1"
  else
    shasum -a 256 "$1"
  fi | cut -d ' ' -f 1
}

install_files() {
  from=$1
  share=$prefix/share
  mkdir -p "$prefix/bin" "$share/man/man1" "$share/bash-completion/completions" "$share/zsh/site-functions" \
    "$share/fish/vendor_completions.d"
  for program in "$from"/bin/*; do
    name=$(basename "$program")
    # A running program cannot be written over; a new name can take its place.
    cp "$program" "$prefix/bin/.$name.new"
    chmod 755 "$prefix/bin/.$name.new"
    mv -f "$prefix/bin/.$name.new" "$prefix/bin/$name"
    cp "$from/completions/$name.bash" "$share/bash-completion/completions/$name"
    cp "$from/completions/$name.zsh" "$share/zsh/site-functions/_$name"
    cp "$from/completions/$name.fish" "$share/fish/vendor_completions.d/$name.fish"
  done
  cp "$from"/man/*.1 "$share/man/man1/"
}

main() {
  read_arguments "$@"
  system=$(this_system)
  if [ -n "$version" ]; then
    place=$releases/download/v$version
  else
    place=$releases/latest/download
  fi
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  # The list names the archive of every system with its version.
  fetch "$place/SHA256SUMS" "$work/SHA256SUMS"
  line=$(grep -- "-$system\.tar\.gz\$" "$work/SHA256SUMS") || fail "the release has no archive for $system"
  expected=$(printf '%s\n' "$line" | head -n 1 | cut -d ' ' -f 1)
  archive=$(printf '%s\n' "$line" | head -n 1 | sed 's/^[0-9a-f]*[ *]*//')
  case $archive in
    */* | .*) fail "the release lists an archive of an odd name: $archive" ;;
  esac
  fetch "$place/$archive" "$work/$archive"
  found=$(sha256 "$work/$archive")
  [ "$found" = "$expected" ] || fail "$archive has the SHA-256 $found, not $expected; nothing was installed"
  tar -xzf "$work/$archive" -C "$work"
  install_files "$work/${archive%.tar.gz}"
  printf 'installed in %s: %s\n' "$prefix/bin" "$(ls "$work/${archive%.tar.gz}/bin" | tr '\n' ' ')"
  case :$PATH: in
    *":$prefix/bin:"*) ;;
    *) printf 'add it to your path: export PATH="%s:$PATH"\n' "$prefix/bin" ;;
  esac
}

main "$@"
