use proptest::prelude::*;

use super::*;

const MASTER: &str = "master shard0 127.0.0.1 20974";
const REPLICA: &str = "slave 127.0.0.1:30909 127.0.0.1 30909 @ shard0 127.0.0.1 20974";
const SENTINEL: &str = "sentinel 5d0a 127.0.0.1 26379 @ shard0 127.0.0.1 20974";

fn old() -> HostPort {
    HostPort::new("127.0.0.1", 20974)
}

fn new() -> HostPort {
    HostPort::new("127.0.0.1", 30909)
}

fn shard0() -> Named {
    Named {
        name: "shard0".to_string(),
        address: old(),
    }
}

fn of_replica() -> Instance {
    Instance::Replica {
        address: new(),
        of: shard0(),
    }
}

fn of_sentinel() -> Instance {
    Instance::Sentinel {
        run_id: "5d0a".to_string(),
        of: shard0(),
    }
}

fn moved(promoted: bool) -> Event {
    Event::Moved {
        name: "shard0".to_string(),
        old: old(),
        new: new(),
        promoted,
    }
}

fn announcement(stage: Stage, candidate: Option<HostPort>) -> Event {
    Event::Announced {
        stage,
        master: shard0(),
        candidate,
    }
}

type Row = (&'static str, String, Event);

/// One row per channel and kind of payload, as Sentinel sends them.
fn table() -> Vec<Row> {
    let mut rows = failovers();
    rows.extend(opinions());
    rows.extend(of_master());
    rows.extend(of_replica_or_sentinel());
    rows
}

fn failovers() -> Vec<Row> {
    let master = || MASTER.to_string();
    let replica = || REPLICA.to_string();
    let selected = announcement(Stage::Selected, Some(new()));
    let promoting = || announcement(Stage::Promoting, Some(new()));
    let reconf = announcement(Stage::Promoting, None);
    let attempted = || Event::Attempted(shard0());
    let aborted = || Event::Aborted(shard0());
    let epoch = Event::Election { epoch: 7 };
    vec![
        ("+switch-master", switch_payload(), moved(false)),
        ("+promoted-slave", replica(), moved(true)),
        ("+try-failover", master(), attempted()),
        ("+elected-leader", master(), attempted()),
        ("+failover-state-select-slave", master(), attempted()),
        ("+vote-for-leader", "5d0a 7".to_string(), epoch.clone()),
        ("+new-epoch", "7".to_string(), epoch),
        ("+selected-slave", replica(), selected),
        ("+failover-state-send-slaveof-noone", replica(), promoting()),
        ("+failover-state-wait-promotion", replica(), promoting()),
        ("+failover-state-reconf-slaves", master(), reconf),
        ("-failover-abort-not-elected", master(), aborted()),
        ("-failover-abort-no-good-slave", master(), aborted()),
        ("-failover-abort-slave-timeout", master(), aborted()),
        ("+failover-end", master(), Event::Ended(shard0())),
        (
            "+failover-end-for-timeout",
            master(),
            Event::Ended(shard0()),
        ),
    ]
}

fn opinions() -> Vec<Row> {
    let master = || MASTER.to_string();
    let down = |instance, agreed| Event::Down { instance, agreed };
    let up = |instance, agreed| Event::Up { instance, agreed };
    let it = || Instance::Master(shard0());
    let objective = format!("{MASTER} #quorum 2/2");
    vec![
        ("+sdown", master(), down(it(), false)),
        ("+sdown", REPLICA.to_string(), down(of_replica(), false)),
        ("+sdown", SENTINEL.to_string(), down(of_sentinel(), false)),
        ("-sdown", master(), up(it(), false)),
        ("+odown", objective, down(it(), true)),
        ("-odown", master(), up(it(), true)),
        ("+tilt", "#tilt mode entered".to_string(), Event::Tilt(true)),
        ("-tilt", "#tilt mode exited".to_string(), Event::Tilt(false)),
    ]
}

fn of_master() -> Vec<Row> {
    let master = || MASTER.to_string();
    let monitored = format!("{MASTER} quorum 2");
    let set = format!("{MASTER} down-after-milliseconds 1100");
    let script = "/notify.sh 0 1".to_string();
    let rebooted = |instance| Event::Rebooted(instance);
    vec![
        ("+reboot", master(), rebooted(Instance::Master(shard0()))),
        ("+reboot", REPLICA.to_string(), rebooted(of_replica())),
        ("+reset-master", master(), Event::Reset(shard0())),
        ("+monitor", monitored, Event::Monitored(shard0())),
        ("-monitor", master(), Event::Unmonitored(shard0())),
        ("+set", set, Event::Reconfigured(shard0())),
        ("+redirect-to-master", switch_payload(), Event::Irrelevant),
        ("+script-error", script, Event::Irrelevant),
    ]
}

fn of_replica_or_sentinel() -> Vec<Row> {
    let replica = || REPLICA.to_string();
    let sentinel = || SENTINEL.to_string();
    let said = |role: &str| format!("{REPLICA} new reported role is {role}");
    let role = |master| Event::RoleChanged {
        instance: of_replica(),
        master,
    };
    let converted = Event::Converted {
        address: new(),
        of: shard0(),
    };
    let replicas = || Event::Replicas(shard0());
    let sentinels = || Event::Sentinels(shard0());
    let invalid = SENTINEL.replace("26379", "0");
    vec![
        ("+config-update-from", sentinel(), Event::Updating(shard0())),
        ("+slave", replica(), replicas()),
        ("+convert-to-slave", replica(), converted),
        ("+fix-slave-config", replica(), replicas()),
        ("+slave-reconf-sent", replica(), replicas()),
        ("+slave-reconf-inprog", replica(), replicas()),
        ("+slave-reconf-done", replica(), replicas()),
        ("-slave-reconf-sent-timeout", replica(), replicas()),
        ("+role-change", said("slave"), role(false)),
        ("-role-change", said("master"), role(true)),
        ("+sentinel", sentinel(), sentinels()),
        ("+sentinel-address-switch", sentinel(), sentinels()),
        ("+sentinel-invalid-addr", invalid, sentinels()),
    ]
}

fn switch_payload() -> String {
    "shard0 127.0.0.1 20974 127.0.0.1 30909".to_string()
}

#[test]
fn every_channel_is_understood() {
    for (channel, payload, expected) in table() {
        let event = event(channel.as_bytes(), payload.as_bytes());
        assert_eq!(event, Ok(expected), "{channel} {payload}");
    }
}

#[test]
fn what_is_subscribed_to_and_what_is_understood_agree() {
    let table = table();
    for channel in CHANNELS {
        assert!(
            table.iter().any(|(known, ..)| known == channel),
            "{channel}"
        );
    }
    for (channel, _, event) in &table {
        let subscribed = CHANNELS.contains(channel);
        assert_eq!(subscribed, *event != Event::Irrelevant, "{channel}");
    }
}

#[test]
fn ipv6_comes_bare_and_hosts_may_be_names() {
    let hosts = [("::1", "fd00::2"), ("redis-0.example", "redis-1.example")];
    for (old, new) in hosts {
        let expected = Event::Moved {
            name: "s".to_string(),
            old: HostPort::new(old, 1),
            new: HostPort::new(new, 2),
            promoted: false,
        };
        let payload = format!("s {old} 1 {new} 2");
        assert_eq!(event(b"+switch-master", payload.as_bytes()), Ok(expected));
        let payload = format!("slave {new}:2 {new} 2 @ s {old} 1");
        let promoted = event(b"+promoted-slave", payload.as_bytes());
        assert!(
            matches!(promoted, Ok(Event::Moved { new: at, .. }) if at == HostPort::new(new, 2))
        );
    }
}

#[test]
fn what_sentinel_would_not_send_is_an_error() {
    let long = vec![b'x'; 1 << 20];
    let cases: &[(&[u8], &[u8], MessageError)] = &[
        (b"+nonsense", b"", MessageError::UnknownChannel),
        (b"\xff", b"", MessageError::UnknownChannel),
        (b"+switch-master", &long, MessageError::TooLong(1 << 20)),
        (b"+switch-master", b"\xff\xfe", MessageError::NotText),
        (b"+switch-master", b"", MessageError::Fields),
        (
            b"+switch-master",
            b"s 1.1.1.1 1 2.2.2.2",
            MessageError::Fields,
        ),
        (
            b"+switch-master",
            b"s 1.1.1.1 1 2.2.2.2 0",
            MessageError::Fields,
        ),
        (
            b"+switch-master",
            b"s 1.1.1.1 1 0.0.0.0 2",
            MessageError::Fields,
        ),
        (b"+switch-master", b"s ? 1 2.2.2.2 2", MessageError::Fields),
        (
            b"+switch-master",
            b"s 1.1.1.1 1 2.2.2.2 2 extra",
            MessageError::Fields,
        ),
        (b"+promoted-slave", MASTER.as_bytes(), MessageError::Fields),
        (
            b"+selected-slave",
            SENTINEL.as_bytes(),
            MessageError::Fields,
        ),
        (b"+sdown", b"horse shard0 1.1.1.1 1", MessageError::Fields),
        (
            b"+slave",
            b"slave x 1.1.1.1 1 @ shard0",
            MessageError::Fields,
        ),
        (b"+new-epoch", b"seven", MessageError::Fields),
        (b"+vote-for-leader", b"7", MessageError::Fields),
        (b"-role-change", REPLICA.as_bytes(), MessageError::Fields),
    ];
    for (channel, payload, error) in cases {
        assert_eq!(event(channel, payload), Err(*error), "{:?}", channel);
    }
}

proptest! {
    #[test]
    fn no_payload_panics(channel in 0..CHANNELS.len(), payload in any::<Vec<u8>>(), text in "[a-z@0-9. ]{0,60}") {
        let channel = CHANNELS[channel].as_bytes();
        let _ = event(channel, &payload);
        let _ = event(channel, text.as_bytes());
    }

    #[test]
    fn a_cut_payload_is_an_error_or_names_the_same_master(row in 0usize..40, cut in 0usize..80) {
        let (channel, payload, _) = table().swap_remove(row);
        let cut = &payload[..cut.min(payload.len())];
        if let Ok(Event::Moved { name, .. }) = event(channel.as_bytes(), cut.as_bytes()) {
            prop_assert_eq!(name, "shard0");
        }
    }
}
