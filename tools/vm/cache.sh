# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Where things are and how to say what went wrong; sourced by the scripts of
# tools/vm and tests/ci. Callers run under "set -euo pipefail".

# Top of the source tree, and the cache: kernels, module objects, build trees.
# Nothing is built inside the source tree.
EVR_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
EVR_CACHE=${EVERING_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/evering}

# Compiled objects live as long as the kernels.
export CCACHE_DIR=$EVR_CACHE/ccache CCACHE_NOHASHDIR=1 CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-2G}

say()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die()
{
	say "$@"
	exit 1
}

# The Meson build directory of this checkout: outside the tree, because
# "make -C KDIR M=$PWD clean" removes every object file below $PWD.
evr_builddir()
{
	local key

	key=$(printf '%s' "$EVR_TOP" | sha256sum | cut -c1-12)
	printf '%s\n' "${EVERING_BUILDDIR:-$EVR_CACHE/build-$key}"
}

need_tool()
{
	command -v "$1" >/dev/null ||
		die "program '$1' not found; run 'make deps' (package $2)"
}

pkg_version()
{
	dpkg-query -W -f='${Version}' "$1" 2>/dev/null ||
		die "package $1 is not installed; run 'make deps'"
}
