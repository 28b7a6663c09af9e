//! Arrays and vector sets.

use super::make::*;

pub(super) const ARRAYS: &[Command] = &Class::Array.of([
    read("arcount", "8.8.0", 2, KEY),
    write("ardel", "8.8.0", -3, KEY),
    write("ardelrange", "8.8.0", -4, KEY),
    read("arget", "8.8.0", 3, KEY),
    read("argetrange", "8.8.0", 4, KEY),
    read("argrep", "8.8.0", -6, KEY),
    read("arinfo", "8.8.0", -2, KEY),
    write("arinsert", "8.8.0", -3, KEY),
    read("arlastitems", "8.8.0", -3, KEY),
    read("arlen", "8.8.0", 2, KEY),
    read("armget", "8.8.0", -3, KEY),
    write("armset", "8.8.0", -4, KEY),
    read("arnext", "8.8.0", 2, KEY),
    read("arop", "8.8.0", -5, KEY),
    write("arring", "8.8.0", -4, KEY),
    read("arscan", "8.8.0", -4, KEY),
    write("arseek", "8.8.0", 3, KEY),
    write("arset", "8.8.0", -4, KEY),
]);

pub(super) const VECTOR_SETS: &[Command] = &Class::VectorSet.of([
    write("vadd", "8.0.0", -5, KEY),
    read("vcard", "8.0.0", 2, KEY),
    read("vdim", "8.0.0", 2, KEY),
    read("vemb", "8.0.0", -3, KEY),
    read("vgetattr", "8.0.0", 3, KEY),
    read("vinfo", "8.0.0", 2, KEY),
    read("vismember", "8.2.0", 3, KEY),
    read("vlinks", "8.0.0", -3, KEY),
    read("vrandmember", "8.0.0", -2, KEY),
    read("vrange", "8.4.0", -4, KEY),
    write("vrem", "8.0.0", 3, KEY),
    write("vsetattr", "8.0.0", 4, KEY),
    read("vsim", "8.0.0", -4, KEY),
]);
