# SPDX-License-Identifier: MIT
# fish completion of evering(1). The words come from the tool itself.

# The subcommand, and then its first operand, that stand before the word that is completed.
function __evering_before
	for word in (commandline -opc)[2..-1]
		string match -q -- '-*' $word; or echo $word
	end
end

function __evering_names
	set -l before (__evering_before)
	switch "$before[1]"
		case bench
			evering --words bench 2>/dev/null | string match -v -- '-*'
		case tap
			# Its first operand is a segment, its second one of the objects there.
			evering --names $before[2] 2>/dev/null
		case rm info peers rings slots hz top events gc revoke send recv relay serve fetch
			evering --names 2>/dev/null
	end
end

complete -c evering -f
complete -c evering -n 'test -z "$(__evering_before)"' -a '(evering --words 2>/dev/null)'
complete -c evering -n 'test -n "$(__evering_before)"' -a '(__evering_names)'
complete -c evering -n 'test -n "$(__evering_before)"; and string match -q -- "-*" (commandline -ct)' \
	-a '(evering --words (__evering_before)[1] 2>/dev/null)'
