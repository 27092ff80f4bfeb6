#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""loads.py [TOP]: does the list of words that are loaded once, in docs/memory-model.md, hold?

Prints a complaint a line: a function of the library that loads one word twice and is not
among those that are named there as second looks, or is and does not; and a file that takes
words of others, into u_... or by evr_copy_out(), of a noun that the list has no row for.
"""
import glob
import os
import re
import sys

FUNCTION = re.compile(r'^[a-z][\w\s*]*?\b(\w+)\([^;{}]*\)\n\{\n(.*?)^\}', re.M | re.S)
LOAD = re.compile(r'evr_a(?:32|64)_load_\w+\(')


def argument(text, at):
    depth, end = 1, at
    while depth and end < len(text):
        depth += {'(': 1, ')': -1}.get(text[end], 0)
        end += 1
    return re.sub(r'\s+', '', text[at:end - 1])


def loads_twice(body):
    body = re.sub(r'/\*.*?\*/', '', body, flags=re.S)
    words = [argument(body, found.end()) for found in LOAD.finditer(body)]
    return len(words) != len(set(words))


def main():
    top = sys.argv[1] if len(sys.argv) > 1 else '.'
    with open(os.path.join(top, 'docs/memory-model.md')) as file:
        text = file.read().split('## Words that are loaded once')[1].split('\n## ')[0]
    table = [line.split('|')[1] for line in text.splitlines() if line.startswith('|')]
    rows = set(re.findall(r'[a-z]+', ' '.join(table)))
    looks = set(re.findall(r'`(\w+)\(\)`', text.split('Second looks')[1]))
    found = set()
    for path in sorted(glob.glob(top + '/lib/*.[ch]') + glob.glob(top + '/include/evering/*.h')):
        with open(path) as file:
            source = file.read()
        for name, body in FUNCTION.findall(source):
            if loads_twice(body):
                found.add(name)
                if name not in looks:
                    print(f'{path}: {name}() loads a word twice, and is no second look')
        noun = re.split(r'[_.]', os.path.basename(path))[0]
        if re.search(r'\bu_\w+ = \*?evr_a|evr_copy_out\(', source) and noun not in rows and \
                '/lib/' in path:
            print(f'{path}: docs/memory-model.md has no row for words of {noun}')
    for name in sorted(looks - found):
        print(f'docs/memory-model.md: {name}() does not load a word twice')


main()
