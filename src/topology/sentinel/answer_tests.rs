use proptest::prelude::*;

use super::*;

fn bulk(text: &str) -> OwnedFrame {
    OwnedFrame::BulkString(text.as_bytes().to_vec())
}

fn list(texts: &[&str]) -> OwnedFrame {
    OwnedFrame::Array(texts.iter().map(|text| bulk(text)).collect())
}

fn error(text: &str) -> OwnedFrame {
    OwnedFrame::Error(text.to_string())
}

fn at(host: &str, port: u16) -> HostPort {
    HostPort::new(host, port)
}

const MASTER: &[&str] = &[
    "name",
    "shard0",
    "ip",
    "::1",
    "port",
    "27214",
    "runid",
    "ab",
    "flags",
    "master,s_down,failover_in_progress",
    "config-epoch",
    "7",
    "quorum",
    "2",
];

#[test]
fn addresses() {
    assert_eq!(address(&list(&["::1", "6379"])), Ok(Some(at("::1", 6379))));
    assert_eq!(address(&OwnedFrame::Null), Ok(None));
    for frame in [
        list(&["::1"]),
        list(&["::1", "0"]),
        list(&["?", "6379"]),
        bulk("::1"),
        OwnedFrame::Array(vec![OwnedFrame::Integer(1), OwnedFrame::Integer(2)]),
    ] {
        let answer = address(&frame);
        assert!(
            matches!(answer, Err(AnswerError::Malformed(_))),
            "{frame:?}"
        );
    }
}

#[test]
fn a_refused_question_is_not_an_unknown_master() {
    let denied = [
        "NOAUTH Authentication required.",
        "WRONGPASS invalid username-password pair or user is disabled.",
        "NOPERM this user has no permissions to run the 'sentinel|master' command",
        "DENIED Redis is running in protected mode",
    ];
    for text in denied {
        let expected = AnswerError::Denied(text.to_string());
        assert_eq!(address(&error(text)), Err(expected.clone()));
        assert_eq!(master(&error(text)), Err(expected.clone()));
        assert_eq!(masters(&error(text)), Err(expected.clone()));
        assert_eq!(my_id(&error(text)), Err(expected));
    }
    for text in [
        "IDONTKNOW",
        "LOADING Redis is loading",
        "ERR unknown command",
    ] {
        let expected = AnswerError::Refused(text.to_string());
        assert_eq!(address(&error(text)), Err(expected.clone()));
        assert_eq!(replicas(&error(text)), Err(expected.clone()));
        assert_eq!(sentinels(&error(text)), Err(expected));
    }
}

#[test]
fn masters_with_epoch_and_flags() {
    let expected = MasterEntry {
        name: "shard0".to_string(),
        address: Some(at("::1", 27214)),
        epoch: 7,
        flags: Flags {
            subjectively_down: true,
            objectively_down: false,
            failover_in_progress: true,
        },
    };
    assert_eq!(master(&list(MASTER)), Ok(Some(expected.clone())));
    let all = masters(&OwnedFrame::Array(vec![list(MASTER)]));
    assert_eq!(all, Ok(vec![expected]));
    let unknown = error("ERR No such master with that name");
    assert_eq!(master(&unknown), Ok(None));
    for missing in [
        &["name", "shard0"][..],
        &["config-epoch", "1"],
        &["name"],
        &[],
    ] {
        assert!(matches!(
            master(&list(missing)),
            Err(AnswerError::Malformed(_))
        ));
    }
    assert!(matches!(
        masters(&list(MASTER)),
        Err(AnswerError::Malformed(_))
    ));
}

#[test]
fn replicas_and_sentinels_without_address_are_left_out() {
    let entry = |ip, port| {
        list(&[
            "name", "x", "ip", ip, "port", port, "runid", "r", "flags", "s_down",
        ])
    };
    let frame = OwnedFrame::Array(vec![entry("h", "1"), entry("", "1"), entry("h", "0")]);
    assert_eq!(replicas(&frame), Ok(vec![at("h", 1)]));
    let expected = SentinelEntry {
        run_id: "r".to_string(),
        address: at("h", 1),
        down: true,
    };
    assert_eq!(sentinels(&frame), Ok(vec![expected]));
    let nameless = OwnedFrame::Array(vec![list(&["ip", "h", "port", "1", "runid", ""])]);
    assert!(matches!(
        sentinels(&nameless),
        Err(AnswerError::Malformed(_))
    ));
}

#[test]
fn roles() {
    let info = "# Replication\r\nrole:slave\r\nmaster_host:h\r\n";
    for (frame, expected) in [
        (list(&["master", "0"]), RoleAnswer::Master),
        (list(&["slave", "127.0.0.1"]), RoleAnswer::Replica),
        (bulk(info), RoleAnswer::Replica),
        (bulk("# Replication\r\nrole:master\r\n"), RoleAnswer::Master),
    ] {
        assert_eq!(role(&frame), expected, "{frame:?}");
    }
    let said = |text: &str| text.to_string();
    for text in [
        "LOADING Redis is loading",
        "MASTERDOWN Link is down",
        "BUSY script",
    ] {
        assert_eq!(role(&error(text)), RoleAnswer::NotReady(said(text)));
    }
    for text in ["NOAUTH x", "NOPERM x", "ERR invalid password"] {
        assert_eq!(role(&error(text)), RoleAnswer::Denied(said(text)));
    }
    for frame in [
        list(&["sentinel"]),
        list(&[]),
        OwnedFrame::Null,
        error("ERR x"),
        bulk("x"),
    ] {
        assert!(matches!(role(&frame), RoleAnswer::Strange(_)), "{frame:?}");
    }
}

#[test]
fn questions_are_commands() {
    let name = || "n".to_string();
    for (question, expected) in [
        (Question::MyId, "SENTINEL MYID"),
        (Question::Masters, "SENTINEL MASTERS"),
        (Question::Master(name()), "SENTINEL MASTER n"),
        (
            Question::Address(name()),
            "SENTINEL GET-MASTER-ADDR-BY-NAME n",
        ),
        (Question::Sentinels(name()), "SENTINEL SENTINELS n"),
        (Question::Replicas(name()), "SENTINEL REPLICAS n"),
    ] {
        assert_eq!(question.arguments().join(" "), expected);
    }
}

fn frame() -> impl Strategy<Value = OwnedFrame> {
    let word = prop::sample::select(vec![
        "name",
        "ip",
        "port",
        "1",
        "runid",
        "flags",
        "config-epoch",
    ]);
    let leaf = prop_oneof![
        word.prop_map(bulk),
        any::<Vec<u8>>().prop_map(OwnedFrame::BulkString),
        any::<i64>().prop_map(OwnedFrame::Integer),
        Just(OwnedFrame::Null),
        ".*".prop_map(OwnedFrame::Error),
    ];
    leaf.prop_recursive(3, 30, 8, |inner| {
        prop::collection::vec(inner, 0..8).prop_map(OwnedFrame::Array)
    })
}

proptest! {
    #[test]
    fn no_frame_panics(frame in frame()) {
        let _ = (address(&frame), master(&frame), masters(&frame), replicas(&frame));
        let _ = (sentinels(&frame), my_id(&frame), role(&frame));
    }
}
