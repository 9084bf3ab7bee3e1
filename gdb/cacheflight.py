# SPDX-License-Identifier: MIT
"""gdb prints groups with the flights that are up. In gdb, or in ~/.gdbinit:

    source /usr/share/cacheflight/gdb/cacheflight.py

    (gdb) print flights
    $1 = cacheflight group, flights up: 1, detached tasks: 0 = {["user:42"] = joinable, waiters: 2, id: 5, at 0x5555555b1eb0}

Reads memory only, so it works on core files as well. The program must have been compiled with -g.
"""

import re

import gdb
import gdb.printing
import gdb.types

# What is read of the library's own classes.
GROUP_CORE = "core_"
CORE_SHARDS, SHARDS_FIRST, SHARDS_COUNT = "shards_", "first_", "count_"
SHARD_TABLE, SHARD_DETACHED = "table", "detached"
TABLE_BUCKETS, TABLE_MASK, FLIGHT_NEXT = "buckets_", "mask_", "next_in_bucket"
FLIGHT_WHY, FLIGHT_UNWOUND, FLIGHT_WAITERS, FLIGHT_ID = "why_", "unwound_", "waiters_", "id_"
FLIGHT_SUPERSEDED = "superseded_"
KEYED_FLIGHT_KEY = "key_"


def member(pointer, name):
    """The member of what the pointer points at, or of a base class of that. Unlike pointer[name] this does not look for the
    dynamic type of the object, about which gdb warns if there is a lambda in it."""

    def find(of, offset):
        for field in of.fields():
            if not hasattr(field, "bitpos"):  # static
                continue
            if field.is_base_class:
                found = find(field.type, offset + field.bitpos // 8)
                if found:
                    return found
            elif field.name == name:
                return offset + field.bitpos // 8, field.type
        return None

    offset, type_of_member = find(pointer.type.strip_typedefs().target().strip_typedefs(), 0)
    return (pointer.cast(gdb.lookup_type("char").pointer()) + offset).cast(type_of_member.pointer()).dereference()


def loaded(atomic):
    """What is in a std::atomic: its only member, or its base's; each standard library has a name of its own for it."""
    while atomic.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
        atomic = atomic[next(field for field in atomic.type.strip_typedefs().fields() if hasattr(field, "bitpos"))]
    return atomic


def shards(group):
    parts = member(group[GROUP_CORE], CORE_SHARDS)
    return [parts[SHARDS_FIRST][i] for i in range(int(parts[SHARDS_COUNT]))]


def flights(shard):
    """Pointers to the flights in the shard's table."""
    table = shard[SHARD_TABLE]
    for i in range(int(table[TABLE_MASK]) + 1):
        flight = table[TABLE_BUCKETS][i]
        while flight:
            yield flight
            flight = member(flight, FLIGHT_NEXT)


class GroupPrinter:
    def __init__(self, group):
        self.group = group

    def to_string(self):
        parts = shards(self.group)
        up = sum(1 for shard in parts for _ in flights(shard))
        detached = sum(int(shard[SHARD_DETACHED]) for shard in parts)
        return f"cacheflight group, flights up: {up}, detached tasks: {detached}"

    def children(self):
        for shard in shards(self.group):
            for flight in flights(shard):
                yield "key", self.key(flight)
                yield "flight", flight

    def display_hint(self):
        return "map"

    def key(self, flight):
        group = gdb.types.get_basic_type(self.group.type)
        namespace = group.name[: group.name.index("basic_group<")]
        key, platform = (group.template_argument(i).strip_typedefs() for i in (0, 3))
        keyed = gdb.lookup_type(f"{namespace}detail::keyed_flight<{platform}, {key}>")
        address = flight.cast(gdb.lookup_type("char").pointer())  # gdb would check a cast from base to derived class
        return member(address.cast(keyed.pointer()), KEYED_FLIGHT_KEY)


class FlightPrinter:
    """For pointers to flights."""

    def __init__(self, flight):
        self.flight = flight

    def to_string(self):
        why = str(loaded(member(self.flight, FLIGHT_WHY))).rsplit("::", 1)[-1]
        if why == "open":
            state = "superseded" if member(self.flight, FLIGHT_SUPERSEDED) else "joinable"
        else:
            state = f"{'settled' if member(self.flight, FLIGHT_UNWOUND) else 'detached'} ({why})"
        waiters, number = (int(member(self.flight, name)) for name in (FLIGHT_WAITERS, FLIGHT_ID))
        return f"{state}, waiters: {waiters}, id: {number}, at {int(self.flight):#x}"


def printer_of(value):
    kind = gdb.types.get_basic_type(value.type)
    if kind.code == gdb.TYPE_CODE_PTR:
        kind = gdb.types.get_basic_type(kind.target())
        if re.match(r"cacheflight::(v\d+::)?detail::flight<", kind.name or ""):
            return FlightPrinter(value) if value else None
    elif re.match(r"cacheflight::(v\d+::)?basic_group<", kind.name or ""):
        return GroupPrinter(value)
    return None


printer_of.name, printer_of.enabled = "cacheflight", True
gdb.printing.register_pretty_printer(None, printer_of, replace=True)
