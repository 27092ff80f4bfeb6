#!/bin/sh
# SPDX-License-Identifier: MIT
# check_examples.sh INCLUDE_DIR MAN_DIR CC: what stands under EXAMPLE in a page of section 3
# compiles as C11, without a warning, behind the #include lines of the page's synopsis; and is
# made of functions, so that nothing in it is left for the reader to declare.
set -u
# shellcheck source=tests/unit/checks.sh
. "$(dirname "$0")/checks.sh"
include=$1 man=$2 cc=$3
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

# The programs of a page: each fenced text in its EXAMPLE section, as scdoc prints it, is a file.
extract() # page, directory
{
	sed -n 's/^\*\\\(#include <[a-z/_]*\.h>\)\*.*/\1/p' "$1" >"$2/includes"
	awk -v to="$2" '
		/^# / { within = /^# EXAMPLES?$/; next }
		within && /^```/ { inside = !inside; if (inside) file = to "/" ++nr ".c"; next }
		inside {
			alone = $0
			gsub(/\\\\/, "", alone)
			if (alone ~ /\\/)
				print "a backslash that scdoc does not print" >file
			gsub(/\\\\/, "\\")
			print >file
		}
		END { if (inside) print "an example without an end" >(to "/" nr ".c") }' "$1"
}

compile() # includes, program
{
	cat "$1" "$2" >"$2.whole.c"
	"$cc" -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -I"$include" -fsyntax-only "$2.whole.c"
}

nr=0
for page in "$man"/*.3.scd; do
	name=${page##*/}
	mkdir "$dir/$name"
	extract "$page" "$dir/$name"
	for program in "$dir/$name"/*.c; do
		[ -e "$program" ] || continue
		nr=$((nr + 1))
		compile "$dir/$name/includes" "$program" >"$dir/log" 2>&1 || {
			echo "$name:"
			cat "$dir/log"
		}
	done
done >"$dir/wrong"

# One of each kind that must not pass, and the same without its fault.
mkdir "$dir/control"
cat >"$dir/control.scd" <<'END'
# SYNOPSIS

*\#include <evering/peer.h>*

# EXAMPLE

```
uint32_t good(struct evr_peer *peer)
{
	return evr_peer_self(peer).slot;
}
```

```
uint32_t undeclared(struct evr_peer *peer)
{
	return evr_peer_self(other).slot;
}
```

```
uint32_t unknown(struct evr_peer *peer)
{
	return evr_peer_nobody(peer);
}
```

```
evr_peer_self(peer);
```

```
const char *end_of_line(void)
{
	return "\n";
}
```

```
const char *another(void)
{
	return "\\n";
}
```

# SEE ALSO

```
not an example
```
END
extract "$dir/control.scd" "$dir/control"
for program in "$dir"/control/?.c; do
	compile "$dir/control/includes" "$program" >"$dir/log" 2>&1 && echo "${program##*/}"
done >"$dir/good"
[ "$(cat "$dir/good")" = "1.c
6.c" ] && [ -e "$dir/control/5.c" ] && [ ! -e "$dir/control/7.c" ] ||
	echo "of six examples 1 and 6 should compile, and do: $(cat "$dir/good" "$dir/log")" >"$dir/blind"
[ "$nr" -gt 9 ] || echo "only $nr examples are found" >>"$dir/blind"
touch "$dir/blind"

echo 1..2
result 1 pages_have_examples_that_compile "$dir/wrong"
result 2 examples_that_do_not_compile_are_found "$dir/blind"
exit $failed
