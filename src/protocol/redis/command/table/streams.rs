//! Streams.

use super::make::*;

pub(super) const STREAMS: &[Command] = &Class::Stream.of([
    write("xack", "5.0.0", -4, KEY),
    write("xackdel", "8.2.0", -6, KEY),
    write("xadd", "5.0.0", -5, KEY),
    write("xautoclaim", "6.2.0", -6, KEY),
    write("xcfgset", "8.6.0", -2, KEY),
    write("xclaim", "5.0.0", -6, KEY),
    write("xdel", "5.0.0", -3, KEY),
    write("xdelex", "8.2.0", -5, KEY),
    container("xgroup", "5.0.0", -2, XGROUP),
    write("xidmprecord", "8.6.2", 5, KEY),
    container("xinfo", "5.0.0", -2, XINFO),
    read("xlen", "5.0.0", 2, KEY),
    write("xnack", "8.8.0", -7, KEY),
    read("xpending", "5.0.0", -3, KEY),
    read("xrange", "5.0.0", -4, KEY),
    blocking("xread", "5.0.0", -4, Read, Keys::Streams, Timeout::Block),
    blocking(
        "xreadgroup",
        "5.0.0",
        -7,
        Write,
        Keys::Streams,
        Timeout::Block,
    ),
    read("xrevrange", "5.0.0", -4, KEY),
    write("xsetid", "5.0.0", -3, KEY),
    write("xtrim", "5.0.0", -4, KEY),
]);

const XGROUP: &[Command] = &Class::Stream.of([
    write("xgroup|create", "5.0.0", -5, SUBJECT),
    write("xgroup|createconsumer", "6.2.0", 5, SUBJECT),
    write("xgroup|delconsumer", "5.0.0", 5, SUBJECT),
    write("xgroup|destroy", "5.0.0", 4, SUBJECT),
    anywhere("xgroup|help", "5.0.0", 2, Neither),
    write("xgroup|setid", "5.0.0", -5, SUBJECT),
]);

const XINFO: &[Command] = &Class::Stream.of([
    read("xinfo|consumers", "5.0.0", 4, SUBJECT),
    read("xinfo|groups", "5.0.0", 3, SUBJECT),
    anywhere("xinfo|help", "5.0.0", 2, Neither),
    read("xinfo|stream", "5.0.0", -3, SUBJECT),
]);
