"""Reads `cargo metadata` and fails when a package that the library itself needs asks for a newer Rust than we state."""

import json
import sys

metadata = json.load(sys.stdin)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
root = metadata["resolve"]["root"]


def version(text):
    return tuple(int(part) for part in text.split(".")[:2])


ours = version(packages[root]["rust_version"])
seen, todo, newer = set(), [root], []
while todo:
    here = todo.pop()
    if here in seen:
        continue
    seen.add(here)
    asked = packages[here].get("rust_version")
    if asked and version(asked) > ours:
        newer.append(f'{packages[here]["name"]} {packages[here]["version"]} needs Rust {asked}')
    for dependency in nodes[here]["deps"]:
        # What only tests and examples need does not bind those who link the crate.
        if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
            todo.append(dependency["pkg"])
print(f"{len(seen)} packages looked at, Rust {packages[root]['rust_version']} is stated")
if newer:
    sys.exit("\n".join(newer))
