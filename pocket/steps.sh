# What quickstart, remake and control have in common; they source it.

# Where OUT lies for whoever named it: a script works in the project's folder, its caller may stand elsewhere.
# Usage: out=$(from_caller OUT HOME)
from_caller() {
  case $1 in
    /*) printf '%s' "$1" ;;
    *) [ "$PWD" = "$2" ] && printf '%s' "$1" || printf '%s' "$PWD/$1" ;;
  esac
}

# Prints a command as it can be typed, then runs it.
step() {
  printf '\n$'
  printf ' %q' "$@"
  printf '\n'
  "$@"
}

# Builds the programs, with whatever more is named, below $target, and puts them first on the path.
build() {
  step cargo build --release -p generate -p posttrain -p evaluate -p pocket --bins "$@"
  target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
  printf '\n$ export PATH=%q:$PATH\n' "$target/release"
  export PATH="$target/release:$PATH"
}
