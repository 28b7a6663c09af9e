//! Strings, bitmaps and HyperLogLogs.

use super::make::*;

pub(super) const STRINGS: &[Command] = &Class::String.of([
    write("append", "2.0.0", 3, KEY),
    write("decr", "1.0.0", 2, KEY),
    write("decrby", "1.0.0", 3, KEY),
    write("delex", "8.4.0", -2, KEY),
    write("delifeq", "Valkey 9.0.0", 3, KEY),
    read("digest", "8.4.0", 2, KEY),
    read("get", "1.0.0", 2, KEY),
    write("getdel", "6.2.0", 2, KEY),
    write("getex", "6.2.0", -2, KEY),
    read("getrange", "2.4.0", 4, KEY),
    write("getset", "1.0.0", 3, KEY),
    write("incr", "1.0.0", 2, KEY),
    write("incrby", "1.0.0", 3, KEY),
    write("incrbyfloat", "2.6.0", 3, KEY),
    write("increx", "8.8.0", -2, KEY),
    read("lcs", "7.0.0", -3, TWO_KEYS),
    split("mget", "1.0.0", -2, Read, ALL_KEYS, Join::Array),
    split("mset", "1.0.1", -3, Write, PAIRS, Join::AllOk),
    write("msetex", "8.4.0, Valkey 9.1.0", -4, NUMPAIRS),
    write("msetnx", "1.0.1", -3, PAIRS),
    write("psetex", "2.6.0", 4, KEY),
    write("set", "1.0.0", -3, KEY),
    write("setex", "2.0.0", 4, KEY),
    write("setnx", "1.0.0", 3, KEY),
    write("setrange", "2.2.0", 4, KEY),
    read("strlen", "2.2.0", 2, KEY),
    read("substr", "1.0.0", 4, KEY),
]);

pub(super) const BITMAPS: &[Command] = &Class::Bitmap.of([
    read("bitcount", "2.6.0", -2, KEY),
    write("bitfield", "3.2.0", -2, KEY),
    read("bitfield_ro", "6.0.0", -2, KEY),
    write("bitop", "2.6.0", -4, AFTER_OPERATION),
    read("bitpos", "2.8.7", -3, KEY),
    read("getbit", "2.2.0", 3, KEY),
    write("setbit", "2.2.0", 4, KEY),
]);

pub(super) const HYPERLOGLOGS: &[Command] = &Class::HyperLogLog.of([
    write("pfadd", "2.8.9", -2, KEY),
    read("pfcount", "2.8.9", -2, ALL_KEYS),
    refused("pfdebug", "2.8.9", 3, Write, ADMIN),
    write("pfmerge", "2.8.9", -2, ALL_KEYS),
    refused("pfselftest", "2.8.9", 1, Neither, ADMIN),
]);
