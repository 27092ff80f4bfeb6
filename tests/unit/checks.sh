# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# What the checks of headers, library and pages share; sourced by them.

# The functions that these headers declare with EVR_API, sorted: the last word before the
# first parenthesis.
declared() # headers
{
	grep -hv '^#' "$@" | tr '\n' ' ' | tr ';{}' '\n\n\n' |
		sed -n 's/.*EVR_API \([^(]*\)(.*/\1/p' | sed 's/[^a-z0-9_]/ /g; s/ *$//; s/.* //' |
		sort
}

# One case: good when the file is empty.
failed=0
result() # number, name, file of what is wrong
{
	if [ -s "$3" ]; then
		sed 's/^/# /' "$3"
		echo "not ok $1 - $2"
		failed=1
	else
		echo "ok $1 - $2"
	fi
}
