//! The command table against a real Redis: what `COMMAND` says of each command, and where
//! `COMMAND GETKEYS` finds the keys of generated requests. Needs `redis-server` in the PATH.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use nuthatch::protocol::redis::command::{self, Access, Command, Keys, Policy};
use support::{Client, RedisServer, Value};

/// The version the table is complete for.
const TABLE_VERSION: &str = "7.0.";

/// Commands that a later version lets have more or fewer arguments, and the table too.
const GROWN: &str = "zrank zrevrank command|getkeys command|getkeysandflags";

/// Every command twemproxy 0.5 forwards or answers.
const TWEMPROXY: &str = "ping quit command lolwut \
    persist pttl ttl type dump decr get getdel incr strlen hgetall hkeys hlen hvals llen scard \
    smembers zcard auth \
    expire expireat pexpire pexpireat move append decrby getbit getset incrby incrbyfloat setnx \
    hexists hget hstrlen lindex rpoplpush sismember zrank zrevrank zscore \
    getrange psetex setbit setex setrange hincrby hincrbyfloat hsetnx lrange lrem lset ltrim smove \
    zcount zlexcount zincrby zremrangebylex zremrangebyrank zremrangebyscore \
    linsert lmove \
    sort copy bitcount bitpos bitfield exists getex set hdel hmget hmset hscan hset hrandfield lpush \
    lpushx rpush rpushx lpop rpop lpos sadd sdiff sdiffstore sinter sinterstore srem sunion \
    sunionstore srandmember sscan spop smismember pfadd pfmerge pfcount zadd zdiff zdiffstore zinter \
    zinterstore zmscore zpopmax zpopmin zrandmember zrange zrangebylex zrangebyscore zrangestore zrem \
    zrevrange zrevrangebylex zrevrangebyscore zscan zunion zunionstore geodist geopos geohash geoadd \
    georadius georadiusbymember geosearch geosearchstore restore \
    mget del unlink touch mset eval evalsha";

/// Commands whose channel is a key here: it decides on the server.
const CHANNELS: &str = "publish spublish";

fn listed(names: &str, name: &str) -> bool {
    names.split_whitespace().any(|listed| listed == name)
}

/// Whether Redis 7.0 cannot know the command.
fn is_newer(command: &Command) -> bool {
    let version = redis_version(command.since);
    version.is_none_or(|version| version > [7, 0])
}

/// The version of Redis that introduced a command, its first two numbers; `None` if that was another program.
fn redis_version(since: &str) -> Option<[u8; 2]> {
    let first = since.split(',').next()?;
    let mut numbers = first.split('.').map(|number| number.parse().ok());
    Some([numbers.next()??, numbers.next()??])
}

#[test]
fn every_command_of_twemproxy_is_served() {
    assert_eq!(TWEMPROXY.split_whitespace().count(), 137);
    for name in TWEMPROXY.split_whitespace() {
        let command =
            command::lookup(name.as_bytes()).unwrap_or_else(|| panic!("{name} is missing"));
        assert!(
            !matches!(command.policy, Policy::Refused(_)),
            "{name} is refused"
        );
    }
}

#[test]
fn the_table_knows_every_command_of_redis() {
    let mut redis = Redis::start();
    let known = redis.commands();
    let ours: BTreeSet<_> = table().map(|command| command.name).collect();
    let absent =
        |(name, known): &(&String, &Known)| !known.from_module && !ours.contains(name.as_str());
    let missing: Vec<_> = known.iter().filter(absent).map(|(name, _)| name).collect();
    if redis.has_table_version() {
        assert!(missing.is_empty(), "missing in the table: {missing:?}");
        let invented = |c: &&Command| !known.contains_key(c.name) && !is_newer(c);
        let invented: Vec<_> = table().filter(invented).map(|c| c.name).collect();
        assert!(invented.is_empty(), "unknown to redis: {invented:?}");
    } else {
        println!("redis {} also has {missing:?}", redis.version);
    }
}

#[test]
fn arity_and_flags_are_those_of_redis() {
    let mut redis = Redis::start();
    let exact = redis.has_table_version();
    let known = redis.commands();
    let mut compared = 0;
    for ours in table() {
        let Some(theirs) = known.get(ours.name) else {
            continue;
        };
        for argc in 1..=20 {
            let (we, they) = (ours.arity_ok(argc), arity_ok(theirs.arity, argc));
            assert!(
                we || !they,
                "{} with {argc} arguments is refused",
                ours.name
            );
            let differ = we != they && exact && !listed(GROWN, ours.name);
            assert!(!differ, "{} with {argc} arguments is accepted", ours.name);
        }
        assert_eq!(ours.access, theirs.access, "{}", ours.name);
        compared += 1;
    }
    assert!(compared > 300, "only {compared} commands compared");
}

#[test]
fn commands_are_as_old_as_redis_says() {
    let mut redis = Redis::start();
    let mut since = BTreeMap::new();
    insert_since(&mut since, &redis.client.cmd(&["command", "docs"]));
    let mut compared = 0;
    for ours in table() {
        if let Some(theirs) = since.get(ours.name) {
            let of_redis = ours.since.split(',').next();
            assert_eq!(of_redis, Some(&theirs[..]), "{}", ours.name);
            compared += 1;
        }
    }
    assert!(compared > 300, "only {compared} commands compared");
}

#[test]
fn key_ranges_are_those_of_redis() {
    let known = Redis::start().commands();
    let mut compared = 0;
    let offered = table().filter(|c| {
        // Channels are keys to Redis, but each goes to a server of its own here.
        let channels = matches!(c.policy, Policy::Subscribe(_) | Policy::Unsubscribe(_));
        !channels && !matches!(c.policy, Policy::Refused(_))
    });
    for ours in offered.filter(|c| !listed(CHANNELS, c.name)) {
        let Some(theirs) = known.get(ours.name) else {
            continue;
        };
        let (first, last, step) = match ours.keys {
            Keys::None => (0, 0, 0),
            Keys::Range { first, last, step } => (first.into(), last.into(), step.into()),
            Keys::Numkeys {
                destination: Some(_),
                ..
            }
            | Keys::Store(_) => (1, 1, 1),
            Keys::Numkeys { .. } | Keys::Script(_) | Keys::Streams => (0, 0, 0),
        };
        assert_eq!((first, last, step), theirs.range, "{}", ours.name);
        let movable = !matches!(ours.keys, Keys::None | Keys::Range { .. });
        assert_eq!(movable, theirs.movable, "{}", ours.name);
        compared += 1;
    }
    assert!(compared > 150, "only {compared} commands compared");
}

#[test]
fn keys_are_where_redis_finds_them() {
    let mut redis = Redis::start();
    let known = redis.commands();
    let mut compared = 0;
    let routed = table().filter(|c| c.policy.is_routed());
    for ours in routed.filter(|c| !listed(CHANNELS, c.name)) {
        let Some(theirs) = known.get(ours.name) else {
            continue;
        };
        let accepted = |request: &Vec<_>| {
            // GETKEYS fails on a PFMERGE without sources, which Redis runs.
            let bare_pfmerge = ours.name == "pfmerge" && request.len() == 2;
            !bare_pfmerge && arity_ok(theirs.arity, request.len())
        };
        for request in requests(ours).into_iter().filter(accepted) {
            let args: Vec<&[u8]> = request.iter().map(|arg| arg.as_bytes()).collect();
            let found = command::lookup(args[0]).unwrap();
            let found = found.resolve(args.get(1).copied()).unwrap();
            assert_eq!(found, ours, "{request:?}");
            let positions = found.keys(args.len(), |i| args[i]);
            let positions = positions.unwrap_or_else(|error| panic!("{request:?}: {error}"));
            let mut ours: Vec<_> = positions.iter().map(|i| request[i].clone()).collect();
            let mut theirs = redis.getkeys(&request);
            ours.sort();
            theirs.sort();
            assert_eq!(ours, theirs, "{request:?}");
            compared += 1;
        }
    }
    assert!(compared > 1_000, "only {compared} requests compared");
}

#[test]
fn errors_have_the_words_of_redis() {
    let mut redis = Redis::start();
    if !redis.has_table_version() {
        return println!("redis {} may word its errors differently", redis.version);
    }
    for request in [
        "mset a 1 b",
        "msetnx a 1 b 2 c",
        "get",
        "object encoding",
        "xgroup create a",
        "eval script x a",
        "eval script 2 a",
        "zunion x a",
        "sintercard 0 a",
        "sintercard 3 a",
        "zmpop 0 a min",
        "xread count 1 a 0",
        "xread count 1 streams",
    ] {
        let args: Vec<_> = request.split(' ').map(str::to_owned).collect();
        let command = command::lookup(args[0].as_bytes()).unwrap();
        let ours = command
            .resolve(args.get(1).map(|arg| arg.as_bytes()))
            .unwrap()
            .keys(args.len(), |i| args[i].as_bytes())
            .unwrap_err();
        assert_eq!(
            Value::Error(ours.to_string()),
            redis.client.cmd(&args),
            "{request}"
        );
    }
}

/// Every command, and after a container its subcommands.
fn table() -> impl Iterator<Item = &'static Command> {
    command::all().iter().flat_map(|command| {
        let subcommands = match command.policy {
            Policy::Container(subcommands) => subcommands,
            _ => &[],
        };
        // What a container's name alone means is told of the container.
        let named = subcommands.iter().filter(|sub| sub.name.contains('|'));
        std::iter::once(command).chain(named)
    })
}

/// Requests of several lengths that Redis can find the keys of; all arguments differ.
fn requests(command: &Command) -> Vec<Vec<String>> {
    let shortest = usize::from(command.arity.unsigned_abs());
    let longest = if command.arity < 0 {
        shortest + 7
    } else {
        shortest
    };
    let mut requests = Vec::new();
    for argc in shortest..=longest {
        let mut request: Vec<String> = (0..argc).map(|i| format!("argument{i}")).collect();
        for (i, word) in command.name.split('|').enumerate() {
            request[i] = word.to_owned();
        }
        let set = |at: usize, words: &str| {
            let mut request = request.clone();
            for (i, word) in words.split(' ').enumerate() {
                request[at + i] = word.to_owned();
            }
            request
        };
        match command.keys {
            Keys::Range {
                first,
                last: -1,
                step,
            } => {
                if (argc - usize::from(first)).is_multiple_of(step.into()) {
                    requests.push(request);
                }
            }
            Keys::Numkeys { at, step, .. } => {
                let most = (argc - usize::from(at) - 1) / usize::from(step);
                requests.extend((1..=most).map(|n| set(at.into(), &n.to_string())))
            }
            Keys::Script(_) => requests.extend((1..argc - 2).map(|n| set(2, &n.to_string()))),
            Keys::Store(store) => {
                for word in store.store {
                    let places = usize::from(store.options)..argc.saturating_sub(1);
                    requests.extend(places.map(|at| set(at, word)));
                }
                requests.push(request);
            }
            Keys::Streams => {
                let prefixes: &[&str] = match command.name {
                    "xread" => &["streams", "COUNT 2 STREAMS"],
                    _ => &[
                        "GROUP streams count streams",
                        "group g c NOACK count 1 Streams",
                    ],
                };
                for prefix in prefixes {
                    let words = prefix.split(' ').count();
                    if argc > words + 1 && (argc - words - 1).is_multiple_of(2) {
                        requests.push(set(1, prefix));
                    }
                }
            }
            _ => requests.push(request),
        }
    }
    requests
}

fn arity_ok(arity: i64, argc: usize) -> bool {
    let count = usize::try_from(arity.unsigned_abs()).unwrap();
    if arity < 0 {
        argc >= count
    } else {
        argc == count
    }
}

/// What `COMMAND` says of a command.
struct Known {
    arity: i64,
    access: Access,
    range: (i64, i64, i64),
    movable: bool,
    from_module: bool,
}

/// A Redis of our own and a connection to it.
struct Redis {
    client: Client,
    version: String,
    _server: RedisServer,
}

impl Redis {
    fn start() -> Self {
        let server = RedisServer::start();
        let mut client = server.client();
        let info = string(&client.cmd(&["info", "server"]));
        let version = info
            .lines()
            .find_map(|line| line.strip_prefix("redis_version:"));
        Self {
            client,
            version: version.expect("INFO tells the version").to_owned(),
            _server: server,
        }
    }

    fn has_table_version(&self) -> bool {
        self.version.starts_with(TABLE_VERSION)
    }

    fn commands(&mut self) -> BTreeMap<String, Known> {
        let mut known = BTreeMap::new();
        for entry in array(&self.client.cmd(&["command"])) {
            insert(&mut known, array(entry));
        }
        known
    }

    fn getkeys(&mut self, request: &[String]) -> Vec<String> {
        let prefix = ["command", "getkeys"].map(str::to_owned);
        match self.client.cmd(&[&prefix, request].concat()) {
            Value::Array(keys) => keys.iter().map(string).collect(),
            other => panic!("{request:?}: {other:?}"),
        }
    }
}

/// Adds an entry of `COMMAND` and its subcommands.
fn insert(known: &mut BTreeMap<String, Known>, entry: &[Value]) {
    let flags: Vec<_> = array(&entry[2]).iter().map(string).collect();
    let flagged = |flag: &str| flags.iter().any(|f| f == flag);
    let access = match (flagged("readonly"), flagged("write")) {
        (true, false) => Access::Read,
        (false, true) => Access::Write,
        _ => Access::Neither,
    };
    let range = (integer(&entry[3]), integer(&entry[4]), integer(&entry[5]));
    let (movable, from_module) = (flagged("movablekeys"), flagged("module"));
    let arity = integer(&entry[1]);
    known.insert(
        string(&entry[0]),
        Known {
            arity,
            access,
            range,
            movable,
            from_module,
        },
    );
    // Subcommands are the tenth element, which Redis 6 does not have.
    for subcommand in entry.get(9).map_or(&[][..], array) {
        insert(known, array(subcommand));
    }
}

/// Adds the commands of `COMMAND DOCS` and their subcommands.
fn insert_since(since: &mut BTreeMap<String, String>, docs: &Value) {
    for command in array(docs).chunks_exact(2) {
        let facts = array(&command[1]).chunks_exact(2);
        for fact in facts {
            match &string(&fact[0])[..] {
                "since" => {
                    since.insert(string(&command[0]), string(&fact[1]));
                }
                "subcommands" => insert_since(since, &fact[1]),
                _ => {}
            }
        }
    }
}

fn array(value: &Value) -> &[Value] {
    match value {
        Value::Array(values) => values,
        other => panic!("not an array: {other:?}"),
    }
}

fn integer(value: &Value) -> i64 {
    match value {
        Value::Int(integer) => *integer,
        other => panic!("not an integer: {other:?}"),
    }
}

fn string(value: &Value) -> String {
    match value {
        Value::Bulk(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        Value::Simple(text) => text.clone(),
        other => panic!("not a string: {other:?}"),
    }
}
