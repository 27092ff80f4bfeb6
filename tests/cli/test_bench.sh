#!/bin/sh
# SPDX-License-Identifier: MIT
# bench and demo: they run to their end, tell of every rival, and their JSON is JSON. No figure is judged.
# Seen to fail: tests/unit/controls, tool-bench-slower.
. "$(dirname "$0")/tap.sh"

cpus=$(nproc 2>/dev/null || echo 2)
# In a machine without KVM: what the device itself does, bells, deaths and memory. The rest moves
# through memory that is mapped by then, as on this machine, and is for check-long.
all=1
[ "$EVERING_BACKEND" = device ] && [ -z "${EVERING_LONG:-}" ] && all=

for bench in ringtrip wake ${all:+spsc slots inbox mpmc bcast}; do
	it "bench_${bench}_tells_of_every_rival"
	run bench --backend "$EVERING_BACKEND" --count 50 --repeats 2 $bench
	ends_with 0
	out_has "^$bench: "
	out_has "$EVERING_BACKEND backend, 2 repeats in turns"
	out_has '^sleeping$'
	out_has '^  evering'
	[ $bench = wake ] && out_has '^  (futex|eventfd\+poll) ' && out_has '^death: ' && out_has '^  pidfd\+poll '
	[ $bench = wake ] || out_has '^  UNIX socket '
	[ $bench != wake ] && [ "$cpus" -gt 1 ] && out_has '^spinning$'
	err_is_empty
done

if [ "$cpus" -gt 1 ] && [ -n "$all" ]; then
	it bench_ringtrip_says_what_it_is_made_of
	run bench --backend "$EVERING_BACKEND" --count 50 --repeats 2 ringtrip
	ends_with 0
	out_has 'what it is made of'
	out_has 'line and message$'
	out_has 'spinning: .*x the time \(p50\) of line and message'
fi

it bench_ring_tells_of_every_rival
run bench --backend "$EVERING_BACKEND" --count 50 --repeats 2 ring
ends_with 0
for rival in 'evering ring' 'eventfd write' 'futex wake' 'evering ring, take' 'eventfd write, read'; do
	out_has "^  $rival +8 B"
done
out_has 'evering ring, sleeping: .*x the rate of eventfd write'
err_is_empty

# Whatever has a name runs, and each of its rivals gives a figure; what io_uring or a limit refuses
# is left out and said. Large segments and hundreds of peers are too much for a machine without KVM.
uring=$("$EVERING_TOOL" doctor 2>/dev/null | grep -cE '^ +io_uring +allowed')
for bench in $("$EVERING_TOOL" --words bench | grep -v '^-'); do
	size=
	case $bench:$all in
	contiguous:*) continue ;;
	reap:*) size=16M ;;
	lease:1) size=1M ;;
	*:1 | death: | memory: | ring: | wake:) ;;
	*) continue ;;
	esac
	it "bench_${bench}_runs_with_three_operations"
	run bench --backend "$EVERING_BACKEND" --count 3 --repeats 1 ${size:+--size $size} --json "$bench"
	ends_with 0
	json "$OUT"
	json_is "$OUT" '.[0].bench' "$bench"
	case $bench in
	memory)
		json_is "$OUT" '.[0].results | map(.bytes >= .data_bytes) | all' true
		# A sanitizer's malloc says nothing to mallinfo2().
		least=1000
		[ -z "${ASAN_OPTIONS:-}" ] || least=-1
		json_is "$OUT" '.[0].results | map(select(.what | startswith("peer,")) | .bytes > '$least') | (length == 1 and all)' true
		;;
	nop | file-* | echo | inject | timer-*)
		[ "$uring" = 0 ] || json_is "$OUT" '.[0].results | map(select(.rival == "evering driver" or
			.rival == "evering driver, 1 thread")) | map(.per_second_median > 0) | (length > 0 and all)' true ;;
	*) json_is "$OUT" '.[0].results | map(.per_second_median > 0) | all' true ;;
	esac
done

it bench_death_has_one_kind_of_victim_for_all
run bench --backend "$EVERING_BACKEND" --count 2 --repeats 2 death
ends_with 0
out_has '^  evering bell 63 '
out_has '^  evering fd\+poll '
out_has '^  pidfd\+poll '
out_has 'evering fd\+poll, sleeping: .*x the time \(p50\) of pidfd\+poll'
err_is_empty

it bench_contiguous_needs_the_device
run bench --backend local contiguous
ends_with 1
err_has 'contiguous memory: not supported by this backend'

# It zeroes memory for half a minute and more without KVM.
if [ "$EVERING_BACKEND" = device ] && [ -n "${EVERING_LONG:-}" ]; then
	it bench_contiguous_finds_the_largest_run
	run bench --json contiguous
	ends_with 0
	json "$OUT"
	json_is "$OUT" '.[0].results | map(.memory) | join(",")' 'as it is,in pieces,given back'
	json_is "$OUT" '.[0].results | map(.one_run_bytes >= 2097152) | all' true
fi

it bench_reap_is_of_a_peer_for_each_size
run bench --backend "$EVERING_BACKEND" --count 1 --repeats 1 --size 16M reap
if [ "$cpus" -gt 1 ]; then
	ends_with 0
	out_has '^  evering .*ms|^  evering .*us'
	out_has 'evering, spinning: .*x the time \(p50\) of a look at each page'
	err_is_empty
fi

it demo_runs_to_its_end
run demo --backend "$EVERING_BACKEND" --seconds 0.5
ends_with 0
out_has "^  backend +$EVERING_BACKEND"
out_has '^  deaths '
out_has '^  pipe +sleeps'
out_has '^ +1 MiB '
out_has 'the consumer was told: '
out_has 'in order, none lost, none twice'
out_has '1 peer, 1 role of rings, 1 unpublished object'
out_lacks "$(printf '\033')"
err_is_empty

it demo_fits_into_80_columns
is "$(awk 'length > 80' "$OUT" | grep -v '^  machine' | wc -l | tr -d ' ')" 0 "lines that are too long"

it demo_isolated_says_what_holds
run demo --backend "$EVERING_BACKEND" --isolated --seconds 0.5
ends_with 0
out_has '^  segment    isolated'
out_has '^  evering +sleeps'
out_has '^ +1 MiB '
out_has 'in order, none lost, none twice'
out_has '1 peer; what it had lies in its region'
out_has '^  by accident .*SIGSEGV'
if [ "$EVERING_BACKEND" = device ]; then
	out_has 'enforced by the kernel, also'
	out_has '^  on purpose .*refused'
else
	out_has 'against accidents'
	out_has '^  on purpose .*written'
fi
err_is_empty
is "$(awk 'length > 80' "$OUT" | grep -v '^  machine' | wc -l | tr -d ' ')" 0 "lines that are too long"

[ -n "$all" ] || finish

it bench_bytes_takes_a_size
run bench --backend "$EVERING_BACKEND" --count 20 --repeats 1 --size 4K bytes
ends_with 0
out_has '^  pipe +4 KiB'
out_lacks '1 MiB'

for bench in channel call; do
	it "bench_${bench}_takes_frames_and_blocks"
	run bench --backend "$EVERING_BACKEND" --count 20 --repeats 1 $bench
	ends_with 0
	out_has "^$bench: "
	out_has '^  evering +64 KiB'
	out_has '^  UNIX socket +64 KiB'
	err_is_empty
done

for bench in heap heap-many heap-random heap-remote; do
	it "bench_${bench}_is_against_malloc"
	run bench --backend "$EVERING_BACKEND" --count 20 --repeats 1 $bench
	if [ "$cpus" -gt 1 ]; then
		ends_with 0
		out_has '^  evering heap '
		out_has '^  malloc '
		out_has 'evering heap, spinning: .*x the rate of malloc'
		err_is_empty
	fi
done

it bench_json_has_every_repeat
run bench --backend "$EVERING_BACKEND" --count 20 --repeats 3 --json ringtrip
ends_with 0
json "$OUT"
json_is "$OUT" '.[0].bench' ringtrip
json_is "$OUT" '.[0].results | map(select(.rival == "pipe")) | .[0].per_second | length' 3
json_is "$OUT" '.[0].results | map(.p50_ns > 0 and .p999_ns >= .p50_ns) | all' true

it bench_on_one_cpu_leaves_out_what_spins
if command -v taskset >/dev/null 2>&1; then
	taskset -c 0 timeout "$SECONDS_MAX" "$EVERING_TOOL" bench --backend "$EVERING_BACKEND" --count 20 --repeats 1 \
		ringtrip >"$OUT" 2>"$ERR"
	status=$?
	ends_with 0
	out_lacks '^spinning$'
	out_has 'One CPU'
fi

finish
