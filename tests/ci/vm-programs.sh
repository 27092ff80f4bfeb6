# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Runs the programs of tests/module/manifest in virtual machines; sourced by
# tests/ci/stage.sh. A line of the manifest is
#
#	PROGRAM  KERNELS  [FLAG...]
#
# PROGRAM is looked for below <builddir>/tests/module, <builddir>/tests,
# <builddir>. KERNELS is "all" or a comma list of names of tools/vm/kernel, where
# stock, kasan, kcsan, debug stand for several. Flags: long (only in check-long),
# alone (a boot of its own), timeout=S (60; four times that on debug kernels),
# args=WORD,WORD, env=NAME=VALUE,NAME=VALUE, modparam=STR (alone), mem=MiB (alone),
# file=NAME,NAME (found like PROGRAM, copied along), plain (no TAP: its exit status is its only result), append=STR (alone), allow-log=REGEX (alone), no-module (alone). "_" in a value of
# modparam and append stands for itself; a blank cannot be written.
# All programs that are not alone share one boot, with a disk.

MANIFEST=$EVR_TOP/tests/module/manifest

kernel_matches()	# kernel, comma list
{
	local want

	for want in ${2//,/ }; do
		case $want in
		all|"$1") return 0 ;;
		debug) [[ $1 != k* ]] || return 0 ;;
		stock|kasan|kcsan) [[ $1 != "$want"-* ]] || return 0 ;;
		esac
	done
	return 1
}

find_program()	# name
{
	local dir

	for dir in tests/module tests .; do
		if [ -x "$EVR_BUILDDIR/$dir/$1" ] && [ -f "$EVR_BUILDDIR/$dir/$1" ]; then
			realpath -s "$EVR_BUILDDIR/$dir/$1"
			return
		fi
	done
	return 1
}

flag()	# name, flags...: value of NAME=VALUE, or "1" for NAME
{
	local name=$1 f
	shift

	for f in "$@"; do
		case $f in
		"$name") echo 1; return ;;
		"$name"=*) echo "${f#*=}"; return ;;
		esac
	done
}

# The guest's script: each program with a time limit, marked for tests/ci/count.
write_script()	# file
{
	cat >"$1" <<-'EOF'
	#!/bin/sh
	export CMOCKA_MESSAGE_OUTPUT=TAP
	failed=0
	cat >/plain <<'END'
	"$@"
	rc=$?
	echo 1..1
	[ $rc = 0 ] && echo "ok 1 - exit status 0" || echo "not ok 1 - exit status $rc"
	exit $rc
	END
	run()	# name, seconds, command...
	{
		name=$1 limit=$2
		shift 2
		echo "# program $name"
		start=$(date +%s)
		timeout -s KILL "$limit" "$@"
		rc=$?
		echo "# $name took $(($(date +%s) - start)) s"
		echo "# program $name exit $rc"
		[ $rc = 0 ] || [ $rc = 77 ] || failed=1
	}
	EOF
}

add_program()	# script, kernel, name, path, flags...
{
	local script=$1 limit factor=1 name=$3 path=$4 args e
	[[ $2 == stock* ]] || factor=4
	shift 4

	limit=$(flag timeout "$@")
	limit=$((${limit:-60} * factor))
	args=$(flag args "$@")
	e=$(flag env "$@")
	e=${e:+env ${e//,/ }}
	[ -z "$(flag plain "$@")" ] || e="$e sh /plain"
	echo "run $name $limit $e $path ${args//,/ }" >>"$script"
	boot_limit=$((boot_limit + limit))
	boot_files+=(--file "$path")
	args=$(flag file "$@")
	for e in ${args//,/ }; do
		path=$(find_program "$e") || { echo "not ok - $name needs $e, not below $EVR_BUILDDIR"; continue; }
		boot_files+=(--file "$path")
	done
}

# One boot; its output is the stage's output.
boot_script()	# kernel, script, run's options...
{
	local kernel=$1 script=$2 rc=0
	shift 2

	echo "exit \$failed" >>"$script"
	chmod +x "$script"
	echo "# boot $kernel $*"
	"$EVR_RUN" --kernel "$kernel" --disk --timeout "$boot_limit" "${boot_files[@]}" \
		--file "$script:/run-programs" --log "$EVR_LOGS/klog-$kernel-$((++boot_number)).log" \
		"$@" -- /run-programs || rc=$?
	# A failed program has its own line; the machine's failures have not.
	case $rc in
	0|1) echo "ok - $kernel: boot, run, unload, no complaint of the kernel" ;;
	*) echo "not ok - $kernel: boot $boot_number ended with status $rc" ;;
	esac
	return $rc
}

boot_alone()	# kernel, name, path, flags...
{
	local kernel=$1 name=$2 path=$3 opts=() v o script
	shift 3

	for o in modparam mem append allow-log no-module; do
		v=$(flag $o "$@")
		case $o:$v in
		*:) ;;
		no-module:*) opts+=(--no-module) ;;
		*) opts+=("--$o" "$v") ;;
		esac
	done
	boot_files=() boot_limit=20
	script=$scripts/alone-${name//\//-}
	write_script "$script"
	add_program "$script" "$kernel" "$name" "$path" "$@"
	boot_script "$kernel" "$script" "${opts[@]}"
}

is_alone()	# flags...
{
	local f

	for f in alone modparam mem append allow-log no-module; do
		[ -z "$(flag $f "$@")" ] || return 0
	done
	return 1
}

# KUnit runs at insmod, beside the module; the results are in debugfs.
add_kunit()	# script
{
	cat >>"$1" <<-'EOF'
	insmod /lib/evering_kunit.ko || { echo "not ok - kunit: insmod"; exit 1; }
	for suite in /sys/kernel/debug/kunit/*; do
		echo "# program kunit/${suite##*/}"
		cat "$suite/results"
		echo "# program kunit/${suite##*/} exit 0"
	done
	rmmod evering_kunit || { echo "not ok - kunit: rmmod"; exit 1; }
	EOF
}

vm_programs()	# kernel
{
	local kernel=$1 name kernels flags path rc=0 shared=0 opts=()

	[ -e "$MANIFEST" ] || { echo "not ok - $MANIFEST is missing"; return 1; }
	scripts=$(mktemp -d)
	trap 'rm -rf "$scripts"' EXIT
	boot_number=0 boot_limit=20 boot_files=()
	write_script "$scripts/shared"
	alone=()
	while read -r name kernels flags; do
		kernel_matches "$kernel" "$kernels" || continue
		# shellcheck disable=SC2086
		[ "$EVR_LONG" = 1 ] || [ -z "$(flag long $flags)" ] || continue
		path=$(find_program "$name") || {
			echo "not ok - $kernel: $name of $MANIFEST is not below $EVR_BUILDDIR"
			rc=1
			continue
		}
		# shellcheck disable=SC2086
		if is_alone $flags; then
			alone+=("$name $path $flags")
		else
			add_program "$scripts/shared" "$kernel" "$name" "$path" $flags
			shared=1
		fi
	done < <(sed 's/#.*//; /^[ \t]*$/d' "$MANIFEST")
	if [[ $kernel != stock* ]]; then
		add_kunit "$scripts/shared"
		opts=(--kunit)
		shared=1
	fi
	[ $shared = 0 ] || boot_script "$kernel" "$scripts/shared" "${opts[@]}" || rc=1
	for flags in "${alone[@]}"; do
		# shellcheck disable=SC2086
		boot_alone "$kernel" $flags || rc=1
	done
	return $rc
}
