//! Keys of any type, and scripts.

use super::make::*;

pub(super) const KEYS: &[Command] = &Class::Generic.of([
    write("copy", "6.2.0", -3, TWO_KEYS),
    split("del", "1.0.0", -2, Write, ALL_KEYS, Join::Sum),
    read("dump", "2.6.0", 2, KEY),
    split("exists", "1.0.0", -2, Read, ALL_KEYS, Join::Sum),
    write("expire", "1.0.0", -3, KEY),
    write("expireat", "1.2.0", -3, KEY),
    read("expiretime", "7.0.0", 2, KEY),
    everywhere("keys", "1.0.0", 2, Read, Join::Concat),
    refused("migrate", "2.6.0", -6, Write, ADMIN),
    write("move", "1.0.0", 3, KEY),
    container("object", "2.2.3", -2, OBJECT),
    write("persist", "2.2.0", 2, KEY),
    write("pexpire", "2.6.0", -3, KEY),
    write("pexpireat", "2.6.0", -3, KEY),
    read("pexpiretime", "7.0.0", 2, KEY),
    read("pttl", "2.6.0", 2, KEY),
    everywhere("randomkey", "1.0.0", 1, Read, Join::OneOf),
    write("rename", "1.0.0", 3, TWO_KEYS),
    write("renamenx", "1.0.0", 3, TWO_KEYS),
    write("restore", "2.6.0", -4, KEY),
    scan("scan", "2.8.0"),
    write("sort", "1.0.0", -2, SORT),
    read("sort_ro", "7.0.0", -2, SORT_RO),
    split("touch", "3.2.1", -2, Read, ALL_KEYS, Join::Sum),
    read("ttl", "1.0.0", 2, KEY),
    read("type", "1.0.0", 2, KEY),
    split("unlink", "4.0.0", -2, Write, ALL_KEYS, Join::Sum),
    wait("wait", "3.0.0", 3, Join::Least),
    wait("waitaof", "7.2.0", 4, Join::EachLeast),
]);

pub(super) const SCRIPTS: &[Command] = &Class::Scripting.of([
    runs("eval", "2.6.0", Neither, Script::Run),
    runs("eval_ro", "7.0.0", Read, Script::Run),
    runs("evalsha", "2.6.0", Neither, Script::RunKnown),
    runs("evalsha_ro", "7.0.0", Read, Script::RunKnown),
    neither("fcall", "7.0.0", -3, FUNCTION_KEYS),
    read("fcall_ro", "7.0.0", -3, FUNCTION_KEYS),
    container("function", "7.0.0", -2, FUNCTION),
    container("script", "2.6.0", -2, SCRIPT),
]);

const OBJECT: &[Command] = &Class::Generic.of([
    read("object|encoding", "2.2.3", 3, SUBJECT),
    read("object|freq", "4.0.0", 3, SUBJECT),
    anywhere("object|help", "6.2.0", 2, Neither),
    read("object|idletime", "2.2.3", 3, SUBJECT),
    read("object|refcount", "2.2.3", 3, SUBJECT),
]);

const FUNCTION: &[Command] = &Class::Scripting.of([
    everywhere("function|delete", "7.0.0", 3, Write, Join::Same),
    anywhere("function|dump", "7.0.0", 2, Neither),
    everywhere("function|flush", "7.0.0", -2, Write, Join::Same),
    anywhere("function|help", "7.0.0", 2, Neither),
    kill("function|kill", "7.0.0"),
    anywhere("function|list", "7.0.0", -2, Neither),
    everywhere("function|load", "7.0.0", -3, Write, Join::Same),
    everywhere("function|restore", "7.0.0", -3, Write, Join::Same),
    anywhere("function|stats", "7.0.0", 2, Neither),
]);

const SCRIPT: &[Command] = &Class::Scripting.of([
    refused("script|debug", "3.2.0", 3, Neither, DEBUGGER),
    everywhere("script|exists", "2.6.0", -3, Neither, Join::EachLeast),
    script("script|flush", "2.6.0", -2, Script::Flush),
    anywhere("script|help", "5.0.0", 2, Neither),
    kill("script|kill", "2.6.0"),
    script("script|load", "2.6.0", 3, Script::Load),
    anywhere("script|show", "Valkey 8.0.0", 3, Neither),
]);
