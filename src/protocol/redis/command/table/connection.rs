//! Connections, transactions, publish/subscribe, cluster.

use super::make::*;

pub(super) const CONNECTION: &[Command] = &Class::Connection.of([
    local("auth", "1.0.0", -2, Local::Auth),
    container("client", "2.4.0", -2, CLIENT),
    local("echo", "1.0.0", 2, Local::Echo),
    local("hello", "6.0.0", -1, Local::Hello),
    local("ping", "1.0.0", -1, Local::Ping),
    local("quit", "1.0.0", -1, Local::Quit),
    local("info", "1.0.0", -1, Local::Info),
    local("reset", "6.2.0", 1, Local::Reset),
    local("select", "1.0.0", 2, Local::Select),
]);

pub(super) const TRANSACTION: &[Command] = &Class::Connection.of([
    transaction("discard", "2.0.0", 1, Keys::None, Transaction::Discard),
    transaction("exec", "1.2.0", 1, Keys::None, Transaction::Exec),
    transaction("multi", "1.2.0", 1, Keys::None, Transaction::Multi),
    transaction("unwatch", "2.2.0", 1, Keys::None, Transaction::Unwatch),
    transaction("watch", "2.2.0", -2, ALL_KEYS, Transaction::Watch),
]);

pub(super) const PUBLISHING: &[Command] = &Class::Connection.of([
    subscribe("psubscribe", "2.0.0", Kind::Pattern),
    neither("publish", "2.0.0", 3, KEY),
    container("pubsub", "2.8.0", -2, PUBSUB),
    unsubscribe("punsubscribe", "2.0.0", Kind::Pattern),
    neither("spublish", "7.0.0", 3, KEY),
    subscribe("ssubscribe", "7.0.0", Kind::Shard),
    subscribe("subscribe", "2.0.0", Kind::Channel),
    unsubscribe("sunsubscribe", "7.0.0", Kind::Shard),
    unsubscribe("unsubscribe", "2.0.0", Kind::Channel),
]);

pub(super) const CLUSTERING: &[Command] = &Class::Connection.of([
    local("asking", "3.0.0", 1, Local::ClusterDisabled),
    container("cluster", "3.0.0", -2, CLUSTER),
    local("readonly", "3.0.0", 1, Local::ClusterDisabled),
    local("readwrite", "3.0.0", 1, Local::ClusterDisabled),
    refused("clusterscan", "Valkey 9.1.0", -2, Read, EVERY_SERVER),
]);

const CLIENT: &[Command] = &Class::Connection.of([
    local("client|caching", "6.0.0", 3, Local::ClientCaching),
    // What a client can do, which no answer here depends on.
    local("client|capa", "Valkey 8.0.0", -3, Local::Ok),
    local("client|getname", "2.6.9", 2, Local::ClientGetName),
    local("client|getredir", "6.0.0", 2, Local::ClientGetRedir),
    anywhere("client|help", "5.0.0", 2, Neither),
    local("client|id", "5.0.0", 2, Local::ClientId),
    local(
        "client|import-source",
        "Valkey 8.1.0",
        3,
        Local::ClientImportSource,
    ),
    local("client|info", "6.2.0", 2, Local::ClientInfo),
    local("client|kill", "2.4.0", -3, Local::ClientKill),
    local("client|list", "2.4.0", -2, Local::ClientList),
    local("client|no-evict", "7.0.0", 3, Local::ClientNoEvict),
    local("client|no-touch", "7.2.0", 3, Local::ClientNoTouch),
    refused("client|pause", "2.9.50", -3, Neither, PAUSE),
    local("client|reply", "3.2.0", 3, Local::ClientReply),
    local("client|setinfo", "7.2.0", 4, Local::ClientSetInfo),
    local("client|setname", "2.6.9", 3, Local::ClientSetName),
    local("client|tracking", "6.0.0", -3, Local::ClientTracking),
    local("client|trackinginfo", "6.2.0", 2, Local::ClientTrackingInfo),
    local("client|unblock", "5.0.0", -3, Local::ClientUnblock),
    refused("client|unpause", "6.2.0", 2, Neither, PAUSE),
]);

const PUBSUB: &[Command] = &Class::Connection.of([
    everywhere("pubsub|channels", "2.8.0", -2, Neither, Join::Union),
    anywhere("pubsub|help", "6.2.0", 2, Neither),
    everywhere("pubsub|numpat", "2.8.0", 2, Neither, Join::Greatest),
    everywhere("pubsub|numsub", "2.8.0", -2, Neither, Join::SumOfEach),
    everywhere("pubsub|shardchannels", "7.0.0", -2, Neither, Join::Union),
    everywhere("pubsub|shardnumsub", "7.0.0", -2, Neither, Join::SumOfEach),
]);

const CLUSTER: &[Command] = &Class::Connection.of(standalone([
    refused("cluster|addslots", "3.0.0", -3, Neither, ADMIN),
    refused("cluster|addslotsrange", "7.0.0", -4, Neither, ADMIN),
    refused("cluster|bumpepoch", "3.0.0", 2, Neither, ADMIN),
    refused(
        "cluster|cancelslotmigrations",
        "Valkey 9.0.0",
        2,
        Neither,
        ADMIN,
    ),
    refused("cluster|count-failure-reports", "3.0.0", 3, Neither, ADMIN),
    refused("cluster|countkeysinslot", "3.0.0", 3, Neither, ADMIN),
    refused("cluster|delslots", "3.0.0", -3, Neither, ADMIN),
    refused("cluster|delslotsrange", "7.0.0", -4, Neither, ADMIN),
    refused("cluster|failover", "3.0.0", -2, Neither, ADMIN),
    refused("cluster|flushslot", "Valkey 9.0.0", -3, Write, ADMIN),
    refused("cluster|flushslots", "3.0.0", 2, Neither, ADMIN),
    refused("cluster|forget", "3.0.0", 3, Neither, ADMIN),
    refused("cluster|getkeysinslot", "3.0.0", 4, Neither, ADMIN),
    refused(
        "cluster|getslotmigrations",
        "Valkey 9.0.0",
        2,
        Neither,
        ADMIN,
    ),
    refused("cluster|help", "5.0.0", 2, Neither, ADMIN),
    refused("cluster|info", "3.0.0", 2, Neither, ADMIN),
    refused("cluster|keyslot", "3.0.0", 3, Neither, ADMIN),
    refused("cluster|links", "7.0.0", 2, Neither, ADMIN),
    refused("cluster|meet", "3.0.0", -4, Neither, ADMIN),
    refused("cluster|migrateslots", "Valkey 9.0.0", -4, Neither, ADMIN),
    refused("cluster|migration", "8.4.0", -4, Neither, ADMIN),
    refused("cluster|myid", "3.0.0", 2, Neither, ADMIN),
    refused("cluster|myshardid", "7.2.0", 2, Neither, ADMIN),
    refused("cluster|nodes", "3.0.0", 2, Neither, ADMIN),
    refused("cluster|replicas", "5.0.0", 3, Neither, ADMIN),
    refused("cluster|replicate", "3.0.0", 3, Neither, ADMIN),
    refused("cluster|reset", "3.0.0", -2, Neither, ADMIN),
    refused("cluster|saveconfig", "3.0.0", 2, Neither, ADMIN),
    refused("cluster|set-config-epoch", "3.0.0", 3, Neither, ADMIN),
    refused("cluster|setslot", "3.0.0", -4, Neither, ADMIN),
    refused("cluster|shards", "7.0.0", 2, Neither, ADMIN),
    refused("cluster|slaves", "3.0.0", 3, Neither, ADMIN),
    refused(
        "cluster|slot-stats",
        "8.2.0, Valkey 8.0.0",
        -4,
        Neither,
        ADMIN,
    ),
    refused("cluster|slots", "3.0.0", 2, Neither, ADMIN),
    refused(
        "cluster|syncslots",
        "8.4.0, Valkey 9.0.0",
        -3,
        Neither,
        ADMIN,
    ),
]));
