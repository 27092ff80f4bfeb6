# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the stages share; sourced by tests/ci/stages/*, which tests/ci/check runs
# with EVR_BUILDDIR, EVR_LOGS and EVR_LONG set. A stage prints TAP.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/vm/cache.sh"

: "${EVR_BUILDDIR:=$(evr_builddir)}" "${EVR_LONG:=0}"
: "${EVR_LOGS:=$EVR_BUILDDIR/logs}"
EVR_RUN=$EVR_TOP/tools/vm/run
. "$EVR_TOP/tests/ci/vm-programs.sh"
mkdir -p "$EVR_LOGS"
cd "$EVR_TOP"

# Run a command as one test: its output goes to a log, the end of it is shown
# when it fails. Its status is the step's.
step()	# name, command...
{
	local name=$1 log rc=0 start=$SECONDS
	shift

	log=$EVR_LOGS/step-${name//[^A-Za-z0-9.+-]/_}.log
	echo "# $name ..."
	"$@" >"$log" 2>&1 || rc=$?
	if [ $rc = 0 ]; then
		echo "ok - $name ($((SECONDS - start)) s)"
	else
		tail -n 60 "$log" | sed 's/^/#   /'
		echo "not ok - $name (status $rc; $log)"
	fi
	return $rc
}

# Run a command unless it has passed here before with the same files and the same Debian
# packages: for what depends on them alone and takes minutes. check-long asks again.
unless_passed()	# name, files and directories (comma list), command...
{
	local name=$1 files=${2//,/ } rc=0 key
	shift 2

	# shellcheck disable=SC2086
	key=$({ find $files -type f -print0 | sort -z | xargs -0 sha256sum; dpkg-query -W; echo "$*"; } | sha256sum | cut -c1-32)
	key=$EVR_CACHE/passed/$key
	if [ -e "$key" ] && [ "$EVR_LONG" = 0 ]; then
		echo "ok - $name: passed on $(cat "$key"), and nothing it reads has changed (rm $key to run it again)"
		return
	fi
	"$@" || rc=$?
	if [ $rc = 0 ]; then
		mkdir -p "${key%/*}"
		date '+%F %R' >"$key"
		find "${key%/*}" -type f -mtime +30 -delete
	fi
	return $rc
}

# For a check that fills $1 with complaints, one a line: none is success.
verdict()	# name, file of complaints
{
	if [ -s "$2" ]; then
		head -n 60 "$2" | sed 's/^/#   /'
		echo "not ok - $1 ($(wc -l <"$2") complaints)"
		return 1
	fi
	echo "ok - $1"
}

# Run Meson's tests and pass on their TAP. Programs that print none count by
# their exit status, which is Meson's judgement.
meson_test()	# name, build directory, options of meson test...
{
	local rc=0 suites=("${@:3}") log=testlog-${1//[^A-Za-z0-9]/-}

	[ "$EVR_LONG" != 0 ] || suites+=(--no-suite long)
	echo "# $1 ..."
	# A log of its own: two stages may run tests of one tree.
	rm -f "$2/meson-logs/$log.txt"
	CMOCKA_MESSAGE_OUTPUT=TAP meson test -C "$2" --logbase "$log" --no-rebuild --num-processes 2 --timeout-multiplier 3 \
		"${suites[@]}" || rc=$?
	tests/ci/meson-tap "$2/meson-logs/$log.txt" || rc=1
	if [ $rc = 0 ]; then echo "ok - $1 (meson test)"; else echo "not ok - $1 (meson test, status $rc)"; fi
	return $rc
}

# Configure (again: source files may be new) and compile a build tree.
build_tree()	# name, directory, options of meson setup...
{
	local name=$1 dir=$2 again=()
	shift 2

	[ ! -e "$dir/build.ninja" ] || again=(--reconfigure)
	# Meson finds ccache by itself, but not when it is told the compiler.
	[ -z "${CC:-}" ] || ! command -v ccache >/dev/null || local -x CC="ccache $CC"
	step "meson setup ($name)" meson setup "${again[@]}" -Dwerror=true "$@" "$dir" "$EVR_TOP" &&
		step "build ($name)" nice -n 5 meson compile -C "$dir"
}
