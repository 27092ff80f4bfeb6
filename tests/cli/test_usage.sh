#!/bin/sh
# SPDX-License-Identifier: MIT
# Wrong command lines end with 2 and say where help is; help is complete.
# Seen to fail: tests/unit/controls, tool-usage-is-failure.
. "$(dirname "$0")/tap.sh"

# A tool that was built without the driver has none of these.
with_driver=
if "$EVERING_TOOL" --words | grep -qx relay; then
	with_driver="relay serve fetch"
fi

it usage_without_subcommand_fails
run
ends_with 2
err_has '^Usage: evering'

it usage_of_unknown_subcommand_fails
run nonsense
ends_with 2
err_has "^evering: there is no subcommand 'nonsense'"
err_has "evering --help"

it usage_help_lists_every_subcommand
run --help
ends_with 0
for sub in create rm ls info peers rings slots hz top tap events gc revoke doctor send recv $with_driver demo bench; do
	out_has "^  $sub "
done
err_is_empty

it usage_version_is_printed
run --version
ends_with 0
out_has '^evering [0-9]+\.[0-9]+\.[0-9]+, kernel ABI [0-9]+$'

for sub in create rm ls info peers rings slots hz top tap events gc revoke doctor send recv $with_driver demo bench; do
	it "usage_${sub}_help_is_printed"
	run $sub --help
	ends_with 0
	out_has "^Usage: evering $sub"
	out_has '-h, --help'
	err_is_empty

	it "usage_${sub}_unknown_option_fails"
	run $sub --no-such-option
	ends_with 2
	err_has "^evering: $sub: .*--no-such-option"
	err_has "Try 'evering $sub --help'"
	is "$(size_of "$OUT")" 0 "bytes on stdout"

	it "usage_${sub}_unknown_letter_fails"
	run $sub -Z
	ends_with 2
	err_has "^evering: $sub: unknown option -Z"

	it "usage_${sub}_words_hold_its_options"
	run --words $sub
	ends_with 0
	out_has '^--help$'
done

for sub in create rm info peers rings slots hz top tap events gc send recv $with_driver bench; do
	it "usage_${sub}_without_operand_fails"
	run $sub
	ends_with 2
	err_has "^evering: $sub: .* is missing"
done

for sub in create info peers events send recv; do
	it "usage_${sub}_second_operand_fails"
	run $sub one two
	ends_with 2
	err_has "^evering: $sub: 'two' is one operand too many"

	for name in '' '.hidden' 'a/b' 'a b' 'nowhere:x' "$EVERING_BACKEND:" \
		0123456789012345678901234567890123456789012345678901234567890123; do
		it "usage_${sub}_bad_name_'${name}'_fails"
		run $sub "$name"
		ends_with 2
		err_has "^evering: $sub: .*: .+"
	done
done

for sub in $with_driver; do
	second=
	[ $sub = relay ] || second=file
	for name in '' '.hidden' 'a/b' 'a b' 'nowhere:x' "$EVERING_BACKEND:"; do
		it "usage_${sub}_bad_name_'${name}'_fails"
		run $sub "$name" $second
		ends_with 2
		err_has "^evering: $sub: .*: .+"
	done

	it "usage_${sub}_operand_too_many_fails"
	run $sub one two three
	ends_with 2
	err_has "^evering: $sub: '(two|three)' is one operand too many"
done

if [ -n "$with_driver" ]; then
	it usage_relay_wants_one_address
	run relay "$(uri a)"
	ends_with 2
	err_has 'one of --listen and --connect is wanted'
	run relay --listen - --connect - "$(uri a)"
	ends_with 2
	err_has 'one of --listen and --connect is wanted'

	for address in nonsense unix: tcp: tcp:x tcp:1:2:3 tcp:localhost: \
		"unix:$(head -c 200 /dev/zero | tr '\0' x)"; do
		it "usage_relay_address_${address}_fails"
		run relay --listen "$address" "$(uri a)"
		ends_with 2
		err_has '^evering: relay: .*(is not unix:PATH|wanted is tcp:HOST:PORT|path has 1 to 107 bytes)'
	done

	it usage_serve_at_standard_input_fails
	run serve --listen - "$(uri a)" "$WORK"
	ends_with 2
	err_has 'standard input is no place to listen at'

	for clients in 0 225 x; do
		for sub in relay serve; do
			it "usage_${sub}_clients_${clients}_fails"
			run $sub --clients $clients "$(uri a)" "$WORK"
			ends_with 2
			err_has "^evering: $sub: --clients: "
		done
	done

	for hub in '' 1234567890123456789012345; do
		it "usage_relay_hub_'${hub}'_fails"
		run relay --hub "$hub" --listen - "$(uri a)"
		ends_with 2
		err_has '^evering: relay: --hub: a name has 1 to 24 bytes'
	done
fi

for size in x -1 1.2.3 12Q 0x10 99999999999E 1e400; do
	it "usage_size_${size}_fails"
	run create --size="$size" "$(uri a)"
	ends_with 2
	err_has '^evering: create: --size: '
done

for peers in 0 257 x; do
	it "usage_peers_${peers}_fails"
	run create --peers "$peers" "$(uri a)"
	ends_with 2
	err_has '^evering: create: --peers: '
done

for mode in 888 0770 1000 abc; do
	it "usage_mode_${mode}_fails"
	run create --mode "$mode" "$(uri a)"
	ends_with 2
	err_has '^evering: create: --mode: '
done

it usage_option_without_value_fails
run create --size
ends_with 2
err_has '^evering: create: --size needs a value'

it usage_isolated_with_size_fails
run create --isolated --size 1M "$(uri a)"
ends_with 2
err_has 'isolated'

it usage_unknown_user_fails
run create --uid no-such-user-here "$(uri a)"
ends_with 2
err_has "no user 'no-such-user-here'"

it usage_unknown_backing_fails
run create --backing paper "$(uri a)"
ends_with 2
err_has "'paper' is neither pages nor shmem"

it usage_unknown_bench_fails
run bench nonsense
ends_with 2
err_has 'ringtrip, spsc, slots, stamped, inbox, .*heap-remote, ring, wake, death, reap, peers, positions, .*memory and contiguous'

it usage_unknown_backend_fails
run bench --backend cloud ringtrip
ends_with 2
err_has "'cloud' is not device or local"

it usage_buffer_that_is_no_power_of_two_fails
run send --buffer 5000 "$(uri a)"
ends_with 2
err_has 'power of two'

for buffer in 4095 4294967297; do
	it "usage_buffer_${buffer}_fails"
	run recv --buffer $buffer "$(uri a)"
	ends_with 2
	err_has '^evering: recv: --buffer: '
done

finish
