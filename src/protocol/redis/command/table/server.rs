//! Servers.

use super::make::*;

pub(super) const SERVER: &[Command] = &Class::Server.of([
    container("acl", "6.0.0", -2, ACL),
    container("backup", "8.10.0", -2, BACKUP),
    refused("bgrewriteaof", "1.0.0", 1, Neither, ADMIN),
    refused("bgsave", "1.0.0", -1, Neither, ADMIN),
    container("command", "2.8.13", -1, COMMAND),
    container("commandlog", "Valkey 8.1.0", -2, COMMANDLOG),
    container("config", "2.0.0", -2, CONFIG),
    everywhere("dbsize", "1.0.0", 1, Read, Join::Sum),
    refused("debug", "1.0.0", -2, Neither, ADMIN),
    refused("failover", "6.2.0", -1, Neither, ADMIN),
    flush("flushall", "1.0.0"),
    flush("flushdb", "1.0.0"),
    container("hotkeys", "8.6.0", -2, HOTKEYS),
    everywhere("lastsave", "1.0.0", 1, Neither, Join::Least),
    container("latency", "2.8.13", -2, LATENCY),
    anywhere("lolwut", "5.0.0", -1, Read),
    container("memory", "4.0.0", -2, MEMORY),
    container("module", "4.0.0", -2, MODULE),
    refused("monitor", "1.0.0", 1, Neither, ADMIN),
    refused("psync", "2.8.0", -3, Neither, ADMIN),
    refused("replconf", "3.0.0", -1, Neither, ADMIN),
    refused("replicaof", "5.0.0", 3, Neither, ADMIN),
    refused("restore-asking", "3.0.0", -4, Write, ADMIN),
    local("role", "2.8.12", 1, Local::Role),
    refused("save", "1.0.0", 1, Neither, ADMIN),
    refused("shutdown", "1.0.0", -1, Neither, ADMIN),
    refused("slaveof", "1.0.0", 3, Neither, ADMIN),
    container("slowlog", "2.2.12", -2, SLOWLOG),
    refused("swapdb", "4.0.0", 3, Write, DATABASES),
    refused("sync", "1.0.0", 1, Neither, ADMIN),
    anywhere("time", "2.6.0", 1, Neither),
    refused("trimslots", "8.4.0", -5, Write, ADMIN),
]);

const ACL: &[Command] = &Class::Server.of([
    anywhere("acl|cat", "6.0.0", -2, Neither),
    refused("acl|deluser", "6.0.0", -3, Neither, ONE_USER),
    refused("acl|dryrun", "7.0.0", -4, Neither, ONE_USER),
    anywhere("acl|genpass", "6.0.0", -2, Neither),
    refused("acl|getuser", "6.0.0", 3, Neither, ONE_USER),
    anywhere("acl|help", "6.0.0", 2, Neither),
    refused("acl|list", "6.0.0", 2, Neither, ONE_USER),
    refused("acl|load", "6.0.0", 2, Neither, ONE_USER),
    refused("acl|log", "6.0.0", -2, Neither, ONE_USER),
    refused("acl|save", "6.0.0", 2, Neither, ONE_USER),
    refused("acl|setuser", "6.0.0", -3, Neither, ONE_USER),
    refused("acl|users", "6.0.0", 2, Neither, ONE_USER),
    local("acl|whoami", "6.0.0", 2, Local::WhoAmI),
]);

const COMMAND: &[Command] = &Class::Server.of([
    anywhere("command", "2.8.13", 1, Neither),
    anywhere("command|count", "2.8.13", 2, Neither),
    anywhere("command|docs", "7.0.0", -2, Neither),
    anywhere("command|getkeys", "2.8.13", -3, Neither),
    anywhere("command|getkeysandflags", "7.0.0", -3, Neither),
    anywhere("command|help", "5.0.0", 2, Neither),
    anywhere("command|info", "2.8.13", -2, Neither),
    anywhere("command|list", "7.0.0", -2, Neither),
]);

const CONFIG: &[Command] = &Class::Server.of([
    local("config|get", "2.0.0", -3, Local::ConfigGet),
    anywhere("config|help", "5.0.0", 2, Neither),
    refused("config|resetstat", "2.0.0", 2, Neither, CONFIGURATION),
    refused("config|rewrite", "2.8.0", 2, Neither, CONFIGURATION),
    refused("config|set", "2.0.0", -4, Neither, CONFIGURATION),
]);

// The proxy has no slow log and no latency monitor of its own, and says what a Redis says where these are
// empty: programs that look everywhere ask for them.
const LATENCY: &[Command] = &Class::Server.of([
    refused("latency|doctor", "2.8.13", 2, Neither, ONE_BY_ONE),
    refused("latency|graph", "2.8.13", 3, Neither, ONE_BY_ONE),
    anywhere("latency|help", "2.8.13", 2, Neither),
    local("latency|histogram", "7.0.0", -2, Local::NoPairs),
    local("latency|history", "2.8.13", 3, Local::NoElements),
    local("latency|latest", "2.8.13", 2, Local::NoElements),
    local("latency|reset", "2.8.13", -2, Local::Zero),
]);

const MEMORY: &[Command] = &Class::Server.of([
    refused("memory|doctor", "4.0.0", 2, Neither, ONE_BY_ONE),
    anywhere("memory|help", "4.0.0", 2, Neither),
    refused("memory|malloc-stats", "4.0.0", 2, Neither, ONE_BY_ONE),
    refused("memory|purge", "4.0.0", 2, Neither, ADMIN),
    refused("memory|stats", "4.0.0", 2, Neither, ONE_BY_ONE),
    read("memory|usage", "4.0.0", -3, SUBJECT),
]);

const MODULE: &[Command] = &Class::Server.of([
    anywhere("module|help", "5.0.0", 2, Neither),
    anywhere("module|list", "4.0.0", 2, Neither),
    refused("module|load", "4.0.0", -3, Neither, ADMIN),
    refused("module|loadex", "7.0.0", -3, Neither, ADMIN),
    refused("module|unload", "4.0.0", 3, Neither, ADMIN),
]);

const SLOWLOG: &[Command] = &Class::Server.of([
    local("slowlog|get", "2.2.12", -2, Local::NoElements),
    anywhere("slowlog|help", "6.2.0", 2, Neither),
    local("slowlog|len", "2.2.12", 2, Local::Zero),
    local("slowlog|reset", "2.2.12", 2, Local::Ok),
]);

const BACKUP: &[Command] = &Class::Server.of([
    refused("backup|abort", "8.10.0", 2, Neither, ADMIN),
    refused("backup|cleanup", "8.10.0", 2, Neither, ADMIN),
    refused("backup|help", "8.10.0", 2, Neither, ADMIN),
    refused("backup|list", "8.10.0", 2, Neither, ADMIN),
    refused("backup|seal", "8.10.0", 2, Neither, ADMIN),
    refused("backup|start", "8.10.0", 2, Neither, ADMIN),
    refused("backup|status", "8.10.0", 2, Neither, ADMIN),
]);

const HOTKEYS: &[Command] = &Class::Server.of([
    refused("hotkeys|get", "8.6.0", 2, Neither, ADMIN),
    refused("hotkeys|help", "8.6.1", 2, Neither, ADMIN),
    refused("hotkeys|reset", "8.6.0", 2, Neither, ADMIN),
    refused("hotkeys|start", "8.6.0", -2, Neither, ADMIN),
    refused("hotkeys|stop", "8.6.0", 2, Neither, ADMIN),
]);

const COMMANDLOG: &[Command] = &Class::Server.of([
    refused("commandlog|get", "Valkey 8.1.0", -4, Neither, ADMIN),
    refused("commandlog|help", "Valkey 8.1.0", 2, Neither, ADMIN),
    refused("commandlog|len", "Valkey 8.1.0", 3, Neither, ADMIN),
    refused("commandlog|reset", "Valkey 8.1.0", 3, Neither, ADMIN),
]);
