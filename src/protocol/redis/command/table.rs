//! The table itself, one line per command: those of Redis 7.0 in its groups, then newer ones. Names,
//! arities and flags are those `COMMAND` lists; `tests/commands.rs` compares them with a running server.

use super::{Access, Access::*, Class, Command, Join, Keys, Local, Policy, Store};

// Why a command is refused.
const EVERY_SERVER: &str = "it would have to run on every server";
const BLOCKING: &str = "blocking commands are not supported";
const TRANSACTIONS: &str = "transactions are not supported";
const PUBSUB: &str = "publish/subscribe is not supported";
const SHARED_CONNECTION: &str = "it concerns one connection to a server, and clients share those";
const ADMINISTRATION: &str = "server administration is not passed through the proxy";

const KEY: Keys = range(1, 1, 1);
const TWO_KEYS: Keys = range(1, 2, 1);
const ALL_KEYS: Keys = range(1, -1, 1);
/// Each key is followed by its value.
const PAIRS: Keys = range(1, -1, 2);
const AFTER_OPERATION: Keys = range(2, -1, 1);
/// The key after a subcommand.
const SUBJECT: Keys = range(2, 2, 1);
const NUMKEYS: Keys = Keys::Numkeys {
    at: 1,
    destination: None,
};
const NUMKEYS_STORE: Keys = Keys::Numkeys {
    at: 2,
    destination: Some(1),
};
const SORT: Keys = Keys::Store(&Store {
    options: 2,
    store: &["store"],
    valued: &[("by", 1), ("get", 1), ("limit", 2)],
});
const GEORADIUS: Keys = Keys::Store(&Store {
    options: 6,
    ..GEO_STORE
});
const GEORADIUSBYMEMBER: Keys = Keys::Store(&Store {
    options: 5,
    ..GEO_STORE
});
const GEO_STORE: Store = Store {
    options: 0,
    store: &["store", "storedist"],
    valued: &[("count", 1)],
};

// The subcommands that have a key. The others are refused: HELP, which could run anywhere, is not
// worth a second policy within a container.
const MEMORY: &[Command] = &Class::Server.of([read("memory|usage", -3, SUBJECT)]);
const OBJECT: &[Command] = &Class::Generic.of([
    read("object|encoding", 3, SUBJECT),
    read("object|freq", 3, SUBJECT),
    read("object|idletime", 3, SUBJECT),
    read("object|refcount", 3, SUBJECT),
]);
const XGROUP: &[Command] = &Class::Stream.of([
    write("xgroup|create", -5, SUBJECT),
    write("xgroup|createconsumer", 5, SUBJECT),
    write("xgroup|delconsumer", 5, SUBJECT),
    write("xgroup|destroy", 4, SUBJECT),
    write("xgroup|setid", -5, SUBJECT),
]);
const XINFO: &[Command] = &Class::Stream.of([
    read("xinfo|consumers", 4, SUBJECT),
    read("xinfo|groups", 3, SUBJECT),
    read("xinfo|stream", -3, SUBJECT),
]);

/// Those of Redis 7.0 in its groups, then newer ones.
pub(super) const GROUPS: &[&[Command]] = &[
    KEYS,
    STRINGS,
    BITMAPS,
    HASHES,
    LISTS,
    SETS,
    SORTED_SETS,
    HYPERLOGLOGS,
    GEOSPATIAL,
    STREAMS,
    SCRIPTS,
    CONNECTION,
    SERVER,
    NEWER_HASHES,
];

const KEYS: &[Command] = &Class::Generic.of([
    write("copy", -3, TWO_KEYS),
    split("del", -2, Write, ALL_KEYS, Join::Sum),
    read("dump", 2, KEY),
    split("exists", -2, Read, ALL_KEYS, Join::Sum),
    write("expire", -3, KEY),
    write("expireat", -3, KEY),
    read("expiretime", 2, KEY),
    refused("keys", 2, Read, EVERY_SERVER),
    refused("migrate", -6, Write, ADMINISTRATION),
    write("move", 3, KEY),
    read("object", -2, Keys::Container(OBJECT)),
    write("persist", 2, KEY),
    write("pexpire", -3, KEY),
    write("pexpireat", -3, KEY),
    read("pexpiretime", 2, KEY),
    read("pttl", 2, KEY),
    refused("randomkey", 1, Read, EVERY_SERVER),
    write("rename", 3, TWO_KEYS),
    write("renamenx", 3, TWO_KEYS),
    write("restore", -4, KEY),
    refused("scan", -2, Read, EVERY_SERVER),
    write("sort", -2, SORT),
    read("sort_ro", -2, KEY),
    split("touch", -2, Read, ALL_KEYS, Join::Sum),
    read("ttl", 2, KEY),
    read("type", 2, KEY),
    split("unlink", -2, Write, ALL_KEYS, Join::Sum),
    refused("wait", 3, Neither, SHARED_CONNECTION),
    // (since 7.2)
    refused("waitaof", 4, Neither, SHARED_CONNECTION),
]);
const STRINGS: &[Command] = &Class::String.of([
    write("append", 3, KEY),
    write("decr", 2, KEY),
    write("decrby", 3, KEY),
    read("get", 2, KEY),
    write("getdel", 2, KEY),
    write("getex", -2, KEY),
    read("getrange", 4, KEY),
    write("getset", 3, KEY),
    write("incr", 2, KEY),
    write("incrby", 3, KEY),
    write("incrbyfloat", 3, KEY),
    read("lcs", -3, TWO_KEYS),
    split("mget", -2, Read, ALL_KEYS, Join::Array),
    split("mset", -3, Write, PAIRS, Join::AllOk),
    write("msetnx", -3, PAIRS),
    write("psetex", 4, KEY),
    write("set", -3, KEY),
    write("setex", 4, KEY),
    write("setnx", 3, KEY),
    write("setrange", 4, KEY),
    read("strlen", 2, KEY),
    read("substr", 4, KEY),
]);
const BITMAPS: &[Command] = &Class::Bitmap.of([
    read("bitcount", -2, KEY),
    write("bitfield", -2, KEY),
    read("bitfield_ro", -2, KEY),
    write("bitop", -4, AFTER_OPERATION),
    read("bitpos", -3, KEY),
    read("getbit", 3, KEY),
    write("setbit", 4, KEY),
]);
const HASHES: &[Command] = &Class::Hash.of([
    write("hdel", -3, KEY),
    read("hexists", 3, KEY),
    read("hget", 3, KEY),
    read("hgetall", 2, KEY),
    write("hincrby", 4, KEY),
    write("hincrbyfloat", 4, KEY),
    read("hkeys", 2, KEY),
    read("hlen", 2, KEY),
    read("hmget", -3, KEY),
    write("hmset", -4, KEY),
    read("hrandfield", -2, KEY),
    read("hscan", -3, KEY),
    write("hset", -4, KEY),
    write("hsetnx", 4, KEY),
    read("hstrlen", 3, KEY),
    read("hvals", 2, KEY),
]);
const LISTS: &[Command] = &Class::List.of([
    refused("blmove", 6, Write, BLOCKING),
    refused("blmpop", -5, Write, BLOCKING),
    refused("blpop", -3, Write, BLOCKING),
    refused("brpop", -3, Write, BLOCKING),
    refused("brpoplpush", 4, Write, BLOCKING),
    read("lindex", 3, KEY),
    write("linsert", 5, KEY),
    read("llen", 2, KEY),
    write("lmove", 5, TWO_KEYS),
    write("lmpop", -4, NUMKEYS),
    write("lpop", -2, KEY),
    read("lpos", -3, KEY),
    write("lpush", -3, KEY),
    write("lpushx", -3, KEY),
    read("lrange", 4, KEY),
    write("lrem", 4, KEY),
    write("lset", 4, KEY),
    write("ltrim", 4, KEY),
    write("rpop", -2, KEY),
    write("rpoplpush", 3, TWO_KEYS),
    write("rpush", -3, KEY),
    write("rpushx", -3, KEY),
]);
const SETS: &[Command] = &Class::Set.of([
    write("sadd", -3, KEY),
    read("scard", 2, KEY),
    read("sdiff", -2, ALL_KEYS),
    write("sdiffstore", -3, ALL_KEYS),
    read("sinter", -2, ALL_KEYS),
    read("sintercard", -3, NUMKEYS),
    write("sinterstore", -3, ALL_KEYS),
    read("sismember", 3, KEY),
    read("smembers", 2, KEY),
    read("smismember", -3, KEY),
    write("smove", 4, TWO_KEYS),
    write("spop", -2, KEY),
    read("srandmember", -2, KEY),
    write("srem", -3, KEY),
    read("sscan", -3, KEY),
    read("sunion", -2, ALL_KEYS),
    write("sunionstore", -3, ALL_KEYS),
]);
const SORTED_SETS: &[Command] = &Class::SortedSet.of([
    refused("bzmpop", -5, Write, BLOCKING),
    refused("bzpopmax", -3, Write, BLOCKING),
    refused("bzpopmin", -3, Write, BLOCKING),
    write("zadd", -4, KEY),
    read("zcard", 2, KEY),
    read("zcount", 4, KEY),
    read("zdiff", -3, NUMKEYS),
    write("zdiffstore", -4, NUMKEYS_STORE),
    write("zincrby", 4, KEY),
    read("zinter", -3, NUMKEYS),
    read("zintercard", -3, NUMKEYS),
    write("zinterstore", -4, NUMKEYS_STORE),
    read("zlexcount", 4, KEY),
    write("zmpop", -4, NUMKEYS),
    read("zmscore", -3, KEY),
    write("zpopmax", -2, KEY),
    write("zpopmin", -2, KEY),
    read("zrandmember", -2, KEY),
    read("zrange", -4, KEY),
    read("zrangebylex", -4, KEY),
    read("zrangebyscore", -4, KEY),
    write("zrangestore", -5, TWO_KEYS),
    // (three arguments until 7.2 gave it and ZREVRANK the option WITHSCORE)
    read("zrank", -3, KEY),
    write("zrem", -3, KEY),
    write("zremrangebylex", 4, KEY),
    write("zremrangebyrank", 4, KEY),
    write("zremrangebyscore", 4, KEY),
    read("zrevrange", -4, KEY),
    read("zrevrangebylex", -4, KEY),
    read("zrevrangebyscore", -4, KEY),
    read("zrevrank", -3, KEY),
    read("zscan", -3, KEY),
    read("zscore", 3, KEY),
    read("zunion", -3, NUMKEYS),
    write("zunionstore", -4, NUMKEYS_STORE),
]);
const HYPERLOGLOGS: &[Command] = &Class::HyperLogLog.of([
    write("pfadd", -2, KEY),
    read("pfcount", -2, ALL_KEYS),
    refused("pfdebug", 3, Write, ADMINISTRATION),
    write("pfmerge", -2, ALL_KEYS),
    refused("pfselftest", 1, Neither, ADMINISTRATION),
]);
const GEOSPATIAL: &[Command] = &Class::Geo.of([
    write("geoadd", -5, KEY),
    read("geodist", -4, KEY),
    read("geohash", -2, KEY),
    read("geopos", -2, KEY),
    write("georadius", -6, GEORADIUS),
    read("georadius_ro", -6, KEY),
    write("georadiusbymember", -5, GEORADIUSBYMEMBER),
    read("georadiusbymember_ro", -5, KEY),
    read("geosearch", -7, KEY),
    write("geosearchstore", -8, TWO_KEYS),
]);
const STREAMS: &[Command] = &Class::Stream.of([
    write("xack", -4, KEY),
    write("xadd", -5, KEY),
    write("xautoclaim", -6, KEY),
    write("xclaim", -6, KEY),
    write("xdel", -3, KEY),
    write("xgroup", -2, Keys::Container(XGROUP)),
    read("xinfo", -2, Keys::Container(XINFO)),
    read("xlen", 2, KEY),
    read("xpending", -3, KEY),
    read("xrange", -4, KEY),
    read("xread", -4, Keys::Streams),
    write("xreadgroup", -7, Keys::Streams),
    read("xrevrange", -4, KEY),
    write("xsetid", -3, KEY),
    write("xtrim", -4, KEY),
]);
const SCRIPTS: &[Command] = &Class::Scripting.of([
    neither("eval", -3, Keys::Script),
    read("eval_ro", -3, Keys::Script),
    neither("evalsha", -3, Keys::Script),
    read("evalsha_ro", -3, Keys::Script),
    neither("fcall", -3, Keys::Script),
    read("fcall_ro", -3, Keys::Script),
    refused("function", -2, Neither, EVERY_SERVER),
    refused("script", -2, Neither, EVERY_SERVER),
]);
const CONNECTION: &[Command] = &Class::Connection.of([
    local("auth", -2, Local::Auth),
    local("client", -2, Local::Client),
    local("echo", 2, Local::Echo),
    local("hello", -1, Local::Hello),
    local("ping", -1, Local::Ping),
    local("quit", -1, Local::Quit),
    local("info", -1, Local::Info),
    local("reset", 1, Local::Reset),
    local("select", 2, Local::Select),
    // Transactions
    refused("discard", 1, Neither, TRANSACTIONS),
    refused("exec", 1, Neither, TRANSACTIONS),
    refused("multi", 1, Neither, TRANSACTIONS),
    refused("unwatch", 1, Neither, TRANSACTIONS),
    refused("watch", -2, Neither, TRANSACTIONS),
    // Publish/subscribe
    refused("psubscribe", -2, Neither, PUBSUB),
    refused("publish", 3, Neither, PUBSUB),
    refused("pubsub", -2, Neither, PUBSUB),
    refused("punsubscribe", -1, Neither, PUBSUB),
    refused("spublish", 3, Neither, PUBSUB),
    refused("ssubscribe", -2, Neither, PUBSUB),
    refused("subscribe", -2, Neither, PUBSUB),
    refused("sunsubscribe", -1, Neither, PUBSUB),
    refused("unsubscribe", -1, Neither, PUBSUB),
    // Cluster
    refused("asking", 1, Neither, SHARED_CONNECTION),
    refused("cluster", -2, Neither, ADMINISTRATION),
    refused("readonly", 1, Neither, SHARED_CONNECTION),
    refused("readwrite", 1, Neither, SHARED_CONNECTION),
]);
const SERVER: &[Command] = &Class::Server.of([
    refused("acl", -2, Neither, ADMINISTRATION),
    refused("bgrewriteaof", 1, Neither, ADMINISTRATION),
    refused("bgsave", -1, Neither, ADMINISTRATION),
    anywhere("command", -1, Neither),
    refused("config", -2, Neither, ADMINISTRATION),
    refused("dbsize", 1, Read, EVERY_SERVER),
    refused("debug", -2, Neither, ADMINISTRATION),
    refused("failover", -1, Neither, ADMINISTRATION),
    refused("flushall", -1, Write, EVERY_SERVER),
    refused("flushdb", -1, Write, EVERY_SERVER),
    refused("lastsave", 1, Neither, ADMINISTRATION),
    refused("latency", -2, Neither, ADMINISTRATION),
    anywhere("lolwut", -1, Read),
    read("memory", -2, Keys::Container(MEMORY)),
    refused("module", -2, Neither, ADMINISTRATION),
    refused("monitor", 1, Neither, ADMINISTRATION),
    refused("psync", -3, Neither, ADMINISTRATION),
    refused("replconf", -1, Neither, ADMINISTRATION),
    refused("replicaof", 3, Neither, ADMINISTRATION),
    refused("restore-asking", -4, Write, ADMINISTRATION),
    refused("role", 1, Neither, ADMINISTRATION),
    refused("save", 1, Neither, ADMINISTRATION),
    refused("shutdown", -1, Neither, ADMINISTRATION),
    refused("slaveof", 3, Neither, ADMINISTRATION),
    refused("slowlog", -2, Neither, ADMINISTRATION),
    refused("swapdb", 3, Write, EVERY_SERVER),
    refused("sync", 1, Neither, ADMINISTRATION),
    anywhere("time", 1, Neither),
]);
/// Since 7.4 and 8.0.
const NEWER_HASHES: &[Command] = &Class::Hash.of([
    write("hexpire", -6, KEY),
    write("hexpireat", -6, KEY),
    read("hexpiretime", -5, KEY),
    write("hgetdel", -5, KEY),
    write("hgetex", -5, KEY),
    write("hpersist", -5, KEY),
    write("hpexpire", -6, KEY),
    write("hpexpireat", -6, KEY),
    read("hpexpiretime", -5, KEY),
    read("hpttl", -5, KEY),
    write("hsetex", -6, KEY),
    read("httl", -5, KEY),
]);
const fn range(first: u8, last: i8, step: u8) -> Keys {
    Keys::Range { first, last, step }
}

const fn read(name: &'static str, arity: i16, keys: Keys) -> Command {
    Command {
        name,
        arity,
        access: Read,
        keys,
        policy: Policy::Forward,
        class: Class::Unknown,
    }
}

const fn write(name: &'static str, arity: i16, keys: Keys) -> Command {
    Command {
        name,
        arity,
        access: Write,
        keys,
        policy: Policy::Forward,
        class: Class::Unknown,
    }
}

const fn neither(name: &'static str, arity: i16, keys: Keys) -> Command {
    Command {
        name,
        arity,
        access: Neither,
        keys,
        policy: Policy::Forward,
        class: Class::Unknown,
    }
}

const fn split(name: &'static str, arity: i16, access: Access, keys: Keys, join: Join) -> Command {
    Command {
        name,
        arity,
        access,
        keys,
        policy: Policy::Split(join),
        class: Class::Unknown,
    }
}

const fn local(name: &'static str, arity: i16, local: Local) -> Command {
    Command {
        name,
        arity,
        access: Neither,
        keys: Keys::None,
        policy: Policy::Local(local),
        class: Class::Unknown,
    }
}

const fn anywhere(name: &'static str, arity: i16, access: Access) -> Command {
    Command {
        name,
        arity,
        access,
        keys: Keys::None,
        policy: Policy::Anywhere,
        class: Class::Unknown,
    }
}

const fn refused(name: &'static str, arity: i16, access: Access, reason: &'static str) -> Command {
    Command {
        name,
        arity,
        access,
        keys: Keys::None,
        policy: Policy::Refused(reason),
        class: Class::Refused,
    }
}
