//! The ACL categories of Redis, so that many commands can be named by one word.
//!
//! Those of Redis 7.0's commands are what `ACL CAT` answers there; newer commands have those of
//! `src/commands/*.json` of the release that brought them, modules those of Redis 8.

use super::{Access, Class, Command};

/// A category, without its `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Category(&'static str);

impl Category {
    /// `all`, those of `ACL CAT`, and those of newer commands and of modules.
    pub const NAMES: [&str; 31] = [
        "all",
        "keyspace",
        "read",
        "write",
        "set",
        "sortedset",
        "list",
        "hash",
        "string",
        "bitmap",
        "hyperloglog",
        "geo",
        "stream",
        "pubsub",
        "admin",
        "fast",
        "slow",
        "blocking",
        "dangerous",
        "connection",
        "transaction",
        "scripting",
        "array",
        "json",
        "bloom",
        "cuckoo",
        "cms",
        "topk",
        "tdigest",
        "search",
        "timeseries",
    ];

    pub fn from_name(name: &str) -> Option<Category> {
        let known = Category::NAMES.into_iter().find(|known| *known == name)?;
        Some(Category(known))
    }

    /// Is it one of the category's commands? A container is in few: its sub-commands are in theirs.
    pub fn holds(self, command: &Command) -> bool {
        let listed = |category| is_listed(category, command.name);
        match self.0 {
            "all" => true,
            // As `server.c`, `setImplicitACLCategories`: scripts may write whatever they are flagged as.
            "read" => command.access == Access::Read && !listed("scripting"),
            "write" => command.access == Access::Write,
            // Modules say themselves what is fast, and of nothing that it is slow.
            "slow" => !listed("fast") && !command.name.contains('.'),
            "dangerous" => listed("dangerous") || listed("admin"),
            "array" => command.class == Class::Array,
            category => listed(category) || is_of_module(category, command.name),
        }
    }
}

/// Modules have categories of their own, and names that begin alike.
fn is_of_module(category: &str, name: &str) -> bool {
    let mut modules = MODULES.iter();
    let prefixes = modules.find(|(known, _)| *known == category);
    prefixes.is_some_and(|(_, prefixes)| prefixes.iter().any(|prefix| name.starts_with(prefix)))
}

const MODULES: &[(&str, &[&str])] = &[
    ("json", &["json."]),
    ("bloom", &["bf."]),
    ("cuckoo", &["cf."]),
    ("cms", &["cms."]),
    ("topk", &["topk."]),
    ("tdigest", &["tdigest."]),
    ("search", &["ft.", "search."]),
    ("timeseries", &["ts.", "timeseries."]),
];

fn is_listed(category: &str, name: &str) -> bool {
    let mut lists = LISTS.iter();
    let list = lists.find(|(known, _)| *known == category);
    list.is_some_and(|(_, names)| names.split_ascii_whitespace().any(|one| one == name))
}

/// The categories that do not follow from something else, each with its commands.
const LISTS: &[(&str, &str)] = &[
    (
        "keyspace",
        "clusterscan cluster|flushslot copy dbsize del dump exists expire expireat expiretime flushall \
         flushdb keys migrate move object|encoding object|freq object|help object|idletime object|refcount \
         persist pexpire pexpireat pexpiretime pttl randomkey rename renamenx restore restore-asking scan \
         swapdb touch trimslots ttl type unlink",
    ),
    (
        "set",
        "sadd scard sdiff sdiffcard sdiffstore sinter sintercard sinterstore sismember smembers smismember \
         smove sort sort_ro spop srandmember srem sscan sunion sunioncard sunionstore",
    ),
    (
        "sortedset",
        "bzmpop bzpopmax bzpopmin sort sort_ro zadd zcard zcount zdiff zdiffstore zincrby zinter zintercard \
         zinterstore zlexcount zmpop zmscore zpopmax zpopmin zrandmember zrange zrangebylex zrangebyscore \
         zrangestore zrank zrem zremrangebylex zremrangebyrank zremrangebyscore zrevrange zrevrangebylex \
         zrevrangebyscore zrevrank zscan zscore zunion zunionstore",
    ),
    (
        "list",
        "blmove blmovem blmpop blpop brpop brpoplpush lindex linsert llen lmove lmovem lmpop lpop lpos lpush \
         lpushx lrange lrem lset ltrim rpop rpoplpush rpush rpushx sort sort_ro",
    ),
    (
        "hash",
        "hdel hexists hexpire hexpireat hexpiretime hget hgetall hgetdel hgetex himport himport|discard \
         himport|discardall himport|prepare himport|set hincrby hincrbyfloat hkeys hlen hmget hmset hpersist \
         hpexpire hpexpireat hpexpiretime hpttl hrandfield hscan hset hsetex hsetnx hstrlen httl hvals",
    ),
    (
        "string",
        "append decr decrby delex delifeq digest get getdel getex getrange getset incr incrby incrbyfloat \
         increx lcs mget mset msetex msetnx psetex set setex setnx setrange strlen substr",
    ),
    (
        "bitmap",
        "bitcount bitfield bitfield_ro bitop bitpos getbit setbit",
    ),
    ("hyperloglog", "pfadd pfcount pfdebug pfmerge pfselftest"),
    (
        "geo",
        "geoadd geodist geohash geopos georadius georadius_ro georadiusbymember georadiusbymember_ro \
         geosearch geosearchstore",
    ),
    (
        "stream",
        "xack xackdel xadd xautoclaim xcfgset xclaim xdel xdelex xgroup|create xgroup|createconsumer \
         xgroup|delconsumer xgroup|destroy xgroup|help xgroup|setid xidmprecord xinfo|consumers xinfo|groups \
         xinfo|help xinfo|stream xlen xnack xpending xrange xread xreadgroup xrevrange xsetid xtrim",
    ),
    (
        "pubsub",
        "psubscribe publish pubsub|channels pubsub|numpat pubsub|numsub pubsub|shardchannels \
         pubsub|shardnumsub punsubscribe spublish ssubscribe subscribe sunsubscribe unsubscribe",
    ),
    (
        "admin",
        "acl|deluser acl|dryrun acl|getuser acl|list acl|load acl|log acl|save acl|setuser acl|users \
         backup|abort backup|cleanup backup|list backup|seal backup|start backup|status bgrewriteaof bgsave \
         client|kill client|list client|no-evict client|pause client|unblock client|unpause cluster|addslots \
         cluster|addslotsrange cluster|bumpepoch cluster|cancelslotmigrations cluster|count-failure-reports \
         cluster|delslots cluster|delslotsrange cluster|failover cluster|flushslot cluster|flushslots \
         cluster|forget cluster|getslotmigrations cluster|meet cluster|migrateslots cluster|migration \
         cluster|replicas cluster|replicate cluster|reset cluster|saveconfig cluster|set-config-epoch \
         cluster|setslot cluster|slaves cluster|syncslots commandlog|get commandlog|len commandlog|reset \
         config|get config|resetstat config|rewrite config|set debug failover ft._list ft.config hotkeys|get \
         hotkeys|reset hotkeys|start hotkeys|stop lastsave latency|doctor latency|graph latency|histogram \
         latency|history latency|latest latency|reset module|list module|load module|loadex module|unload \
         monitor pfdebug pfselftest psync replconf replicaof role save shutdown slaveof slowlog|get \
         slowlog|len slowlog|reset sync",
    ),
    (
        "fast",
        "append arcount ardel arget arinsert arlen armget armset arnext arseek arset asking auth bf.card \
         bf.info bf.reserve bitfield_ro bzpopmax bzpopmin cf.info cf.reserve cms.info cms.initbydim \
         cms.initbyprob dbsize decr decrby delex digest discard echo exists expire expireat expiretime get \
         getbit getdel getex getset hdel hello hexists hexpire hexpireat hexpiretime hget hgetdel hgetex \
         hincrby hincrbyfloat hlen hmget hmset hpersist hpexpire hpexpireat hpexpiretime hpttl hset hsetex \
         hsetnx hstrlen httl incr incrby incrbyfloat increx lastsave llen lolwut lpop lpush lpushx mget move \
         multi persist pexpire pexpireat pexpiretime pfadd ping pttl publish quit readonly readwrite renamenx \
         reset role rpop rpush rpushx sadd scard select setnx sismember smismember smove spop spublish srem \
         strlen swapdb tdigest.byrank tdigest.byrevrank tdigest.cdf tdigest.create tdigest.info tdigest.max \
         tdigest.min tdigest.quantile tdigest.rank tdigest.reset tdigest.revrank time topk.info topk.reserve \
         touch ts.create ts.deleterule ts.get ts.info ttl type unlink unwatch watch xack xackdel xadd \
         xautoclaim xcfgset xclaim xdel xdelex xidmprecord xlen xnack xsetid zadd zcard zcount zincrby \
         zlexcount zmscore zpopmax zpopmin zrank zrem zrevrank zscore",
    ),
    (
        "blocking",
        "blmove blmovem blmpop blpop brpop brpoplpush bzmpop bzpopmax bzpopmin waitaof xread xreadgroup",
    ),
    (
        "dangerous",
        "flushall flushdb info keys migrate restore restore-asking sort sort_ro swapdb trimslots",
    ),
    (
        "connection",
        "asking auth client|caching client|capa client|getname client|getredir client|help client|id \
         client|import-source client|info client|kill client|list client|no-evict client|no-touch \
         client|pause client|reply client|setinfo client|setname client|tracking client|trackinginfo \
         client|unblock client|unpause command command|count command|docs command|getkeys \
         command|getkeysandflags command|help command|info command|list echo hello ping quit readonly \
         readwrite reset select wait waitaof",
    ),
    ("transaction", "discard exec multi unwatch watch"),
    (
        "scripting",
        "eval eval_ro evalsha evalsha_ro fcall fcall_ro function|delete function|dump function|flush \
         function|help function|kill function|list function|load function|restore function|stats script|debug \
         script|exists script|flush script|help script|kill script|load script|show",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::lookup;
    use super::*;

    fn categories(name: &str) -> Vec<&'static str> {
        let command = lookup(name.as_bytes()).expect(name);
        let all = Category::NAMES.into_iter();
        all.filter(|one| Category(one).holds(command)).collect()
    }

    #[test]
    fn commands_are_in_the_categories_of_redis() {
        for (name, expected) in [
            ("get", &["all", "read", "string", "fast"][..]),
            ("del", &["all", "keyspace", "write", "slow"]),
            ("eval_ro", &["all", "slow", "scripting"]),
            ("xread", &["all", "read", "stream", "slow", "blocking"]),
            (
                "flushall",
                &["all", "keyspace", "write", "slow", "dangerous"],
            ),
            ("shutdown", &["all", "admin", "slow", "dangerous"]),
            // Newer than 7.0.
            ("hexpire", &["all", "write", "hash", "fast"]),
            ("httl", &["all", "read", "hash", "fast"]),
            ("waitaof", &["all", "slow", "blocking", "connection"]),
            ("arset", &["all", "write", "fast", "array"]),
            ("json.get", &["all", "read", "json"]),
            ("ft.suglen", &["all", "read", "search"]),
            ("hotkeys", &["all", "slow"]),
        ] {
            assert_eq!(categories(name), expected, "{name}");
        }
    }

    #[test]
    fn every_list_is_of_a_known_category_and_names_none_twice() {
        for (category, names) in LISTS {
            assert!(Category::from_name(category).is_some(), "{category}");
            let names: Vec<&str> = names.split_ascii_whitespace().collect();
            let different: BTreeSet<&&str> = names.iter().collect();
            assert_eq!(different.len(), names.len(), "{category}");
        }
        assert_eq!(Category::from_name("@all"), None);
    }
}
