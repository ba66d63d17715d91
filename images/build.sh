#!/bin/bash
# build.sh [--check]: compiles images/{hello,pause} for every architecture that a compiler is here for, into images/bin.
# --check compiles elsewhere and compares with the committed programs, so nobody has to trust bytes: the same compiler
# (images/bin/COMPILERS) must give the same bytes; another version is only told.
set -euo pipefail
cd "$(dirname "$0")"
out=bin
check=0
if [ "${1:-}" = --check ]; then
  check=1
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
fi
# shellcheck disable=SC2054 # the commas belong to -Wl
FLAGS=(-Os -std=c11 -Wall -Wextra -Werror -ffreestanding -nostdlib -static -fno-pie -no-pie -fno-stack-protector
  -fno-asynchronous-unwind-tables -fno-unwind-tables -mgeneral-regs-only -fno-ident
  -Wl,--build-id=none -Wl,-z,norelro -Wl,-z,noexecstack -Wl,-z,noseparate-code -Wl,-n -s)
rc=0
for pair in amd64:x86_64-linux-gnu-gcc arm64:aarch64-linux-gnu-gcc; do
  arch=${pair%%:*}
  compiler=${pair##*:}
  command -v "$compiler" > /dev/null || { echo "$arch: no $compiler here, left as it is"; continue; }
  version=$("$compiler" --version | sed -n 1p)
  for name in hello pause; do
    "$compiler" "${FLAGS[@]}" -o "$out/$name-$arch" "$name/$name.c"
    strip_tool=${compiler%gcc}strip
    "$strip_tool" -R .comment -R .note.gnu.property "$out/$name-$arch"
    chmod 755 "$out/$name-$arch"
    [ $check = 1 ] || continue
    if cmp -s "$out/$name-$arch" "bin/$name-$arch"; then
      echo "$name-$arch: equal to the committed bytes"
    elif grep -qxF "$arch $version" bin/COMPILERS; then
      echo "$name-$arch: DIFFERS from the committed bytes, with the same compiler" >&2
      rc=1
    else
      echo "$name-$arch: differs; another compiler made the committed one ($version here)"
    fi
  done
  if [ $check = 0 ]; then
    { grep -v "^$arch " bin/COMPILERS 2> /dev/null || :; echo "$arch $version"; } | LC_ALL=C sort > bin/COMPILERS.new
    mv bin/COMPILERS.new bin/COMPILERS
  fi
done
exit $rc
