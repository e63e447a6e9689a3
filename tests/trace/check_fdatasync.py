#!/usr/bin/env python3
"""Checks in a system-call trace that no order number is printed before its order is durable.

    strace -f -y -s 4194304 -e trace=write,pwrite64,fdatasync -o LOG \\
        orderctl create --data DIR < LINES
    check_fdatasync.py --pattern '<trace-[0-9]{6}>' --w 2 LOG LINES

Every line of LINES must match the pattern somewhere, and what matches must be unlike in all of them. For every number that
was printed there must be W replicas with a successful fdatasync of the file `<set>/<index>/days/<day>/db` that began when a
write to that file carrying the payload, and every other write to it that had begun, had returned: the last write of its group
among them. The fdatasync must have returned before the write of the number to standard output began.

A later write may carry the payload once more, since sled rewrites a page when much was added to it. That takes nothing away
from what was synced before.

Exit codes: 0 it is so, 1 it is not (each number for which it is not is told), 2 the trace cannot be used.
"""

import argparse
import re
import sys
from collections import defaultdict

CALL = re.compile(r"^(?:\[pid +)?(\d+)\]? +(\w+)\((.*)$")
RESUMED = re.compile(r"^(?:\[pid +)?(\d+)\]? +<\.\.\. (\w+) resumed>(.*)$")
UNFINISHED = " <unfinished ...>"
RESULT = re.compile(r"\) += (-?\d+)(?: .*)?$")
DESCRIPTOR = re.compile(r"^(\d+)<([^>]*)>")
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(\.\.\.)?')
DATABASE = re.compile(r"/(\d{3})/(\d+)/days/(\d{4})-(\d{2})-(\d{2})/db$")
WRITES = ("write", "pwrite64", "writev", "pwritev", "pwritev2")
NUMBER = re.compile(r"^\d{22}$")


class Unusable(Exception):
    """The trace says too little to be judged."""


class Call:
    """A system call: where in the trace it began and returned, and what came of it."""

    def __init__(self, name, arguments, began, returned, result):
        self.name, self.arguments = name, arguments
        self.began, self.returned, self.result = began, returned, result


def calls(lines):
    """All calls that returned, in the order in which they began."""
    open_calls, done = {}, []
    for at, line in enumerate(lines):
        line = line.rstrip("\n")
        resumed = RESUMED.match(line)
        if resumed:
            pid, name, rest = resumed.groups()
            if (pid, name) not in open_calls:
                continue
            began, arguments = open_calls.pop((pid, name))
            text = arguments + rest
        else:
            call = CALL.match(line)
            if not call:
                continue
            pid, name, text = call.groups()
            began = at
            if text.endswith(UNFINISHED):
                open_calls[(pid, name)] = (began, text[: -len(UNFINISHED)])
                continue
        result = RESULT.search(text)
        if result:
            done.append(Call(name, text[: result.start()], began, at, int(result.group(1))))
    done.sort(key=lambda call: call.began)
    return done


def content(call):
    """What was written, with the escapes of strace left in but for those in text."""
    found = STRING.search(call.arguments)
    if not found:
        raise Unusable(f"line {call.began + 1}: a write without its bytes")
    if found.group(2):
        raise Unusable(f"line {call.began + 1}: strace cut the bytes short: give it a larger -s")
    return found.group(1)


def printed(all_calls):
    """(number or '-', the call that printed its first digit), in the order of printing."""
    lines, rest, first = [], "", None
    for call in all_calls:
        descriptor = DESCRIPTOR.match(call.arguments)
        if call.name != "write" or call.result <= 0 or not descriptor or descriptor.group(1) != "1":
            continue
        text = content(call).encode().decode("unicode_escape")[: call.result]
        for letter in text:
            if not rest:
                first = call
            if letter == "\n":
                lines.append((rest, first))
                rest = ""
            else:
                rest += letter
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pattern", required=True, help="what makes a payload unlike all others")
    parser.add_argument("--w", type=int, required=True, help="replicas that must have synced")
    parser.add_argument("trace")
    parser.add_argument("lines")
    options = parser.parse_args()
    pattern = re.compile(options.pattern)

    with open(options.lines, encoding="utf-8") as file:
        marks = [pattern.search(line) for line in file.read().splitlines()]
    if not all(marks) or len({mark.group() for mark in marks}) != len(marks):
        raise Unusable("a line without its mark, or two with the same")
    with open(options.trace, encoding="utf-8", errors="replace") as file:
        all_calls = calls(file)

    # For each database of a day: the writes that carry a mark, and the syncs that succeeded.
    carrying, synced, writes = defaultdict(lambda: defaultdict(list)), defaultdict(list), defaultdict(list)
    for call in all_calls:
        descriptor = DESCRIPTOR.match(call.arguments)
        database = descriptor and DATABASE.search(descriptor.group(2))
        if not database:
            continue
        replica_set, index, *day = database.groups()
        key = (replica_set, "".join(day))
        if call.name == "fdatasync":
            if call.result == 0:
                synced[key, index].append(call)
        elif call.name in WRITES:
            writes[key, index].append(call)
            for mark in set(pattern.findall(content(call))):
                carrying[key, mark][index].append(call)

    # A sync that began while a write was in flight may have missed it: it counts for nothing.
    for place, syncs in synced.items():
        overtaken = lambda sync: any(call.began < sync.began < call.returned for call in writes[place])
        synced[place] = [sync for sync in syncs if not overtaken(sync)]

    numbers, missing = 0, []
    lines = printed(all_calls)
    if len(lines) > len(marks):
        raise Unusable(f"{len(lines)} lines were printed for {len(marks)} that were read")
    for (number, printing), mark in zip(lines, marks):
        if number == "-":
            continue
        if not NUMBER.match(number):
            raise Unusable(f"{number!r} was printed, which is no number")
        numbers += 1
        key, durable = (number[18:21], number[:8]), []
        for index, carriers in carrying[key, mark.group()].items():
            written = min(call.returned for call in carriers)
            if any(written < sync.began and sync.returned < printing.began for sync in synced[key, index]):
                durable.append(index)
        if len(durable) < options.w:
            where = ", ".join(sorted(durable)) or "no replica"
            missing.append(f"line {printing.began + 1}: {number} ({mark.group()}) was printed when it was durable on {where}")

    for line in missing:
        print(line)
    if numbers == 0:
        raise Unusable("no number was printed")
    syncs = sum(len(calls) for calls in synced.values())
    print(f"{numbers} numbers, {syncs} syncs, {len(missing)} numbers printed too early")
    return 1 if missing else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Unusable as error:
        print(f"unusable: {error}", file=sys.stderr)
        sys.exit(2)
