# Shared by the scripts of a build. POSIX sh: a stock image may have nothing better.
set -eu
umask 022
build=/huker-build
out=$build/out
mkdir -p "$out"

step() { echo "## $*"; }
fail() {
	echo "$*" >&2
	exit 1
}
