//! What is printed for what was said.

use super::*;
use crate::topology::sentinel::HostPort;
use crate::topology::sentinel::task::ask::Witness;

const CONFIG: &str = "\
alpha:
  listen: 127.0.0.1:22121
  redis: true
  sentinels: ['127.0.0.1:1', '127.0.0.1:2']
  servers:
    - 127.0.0.1:7001:1 one
plain:
  listen: 127.0.0.1:22122
  redis: true
  servers:
    - 127.0.0.1:7001:1 one
";

fn config() -> Config {
    config::parse(CONFIG, "f").expect("a good file").config
}

fn host(port: u16) -> HostPort {
    HostPort::new("127.0.0.1", port)
}

fn master(port: u16, epoch: u64) -> Said {
    Said::Master {
        address: host(port),
        epoch,
        flags: Flags::default(),
    }
}

fn subject(said: [Said; 2], nodes: &[(u16, RoleAnswer)]) -> Subject {
    let nodes = nodes.iter().map(|(port, role)| (host(*port), role.clone()));
    Subject {
        name: "one".to_owned(),
        configured: host(7001),
        identity: Identity::Named("one".to_owned()),
        said: said.into(),
        nodes: nodes.collect(),
    }
}

fn survey(second: Result<Vec<String>, Silence>, subject: Subject) -> Survey {
    let monitors = [Ok(vec!["one".to_owned(), "onf".to_owned()]), second];
    let sentinels = monitors.into_iter().zip(1..);
    Survey {
        pool: choose(&config(), Some("alpha")).expect("it is there")[0].clone(),
        sentinels: sentinels
            .map(|(monitors, port)| Witness {
                address: host(port),
                monitors,
            })
            .collect(),
        servers: vec![subject],
    }
}

fn none() -> Result<Vec<String>, Silence> {
    Ok(Vec::new())
}

#[test]
fn agreement_is_aligned_and_sound() {
    let one = subject(
        [master(7002, 3), master(7002, 12)],
        &[(7002, RoleAnswer::Master)],
    );
    let survey = survey(none(), one);
    let expected = "\
pool alpha
state  server  master  configured      127.0.0.1:1             127.0.0.1:2              node
ok     one     one     127.0.0.1:7001  127.0.0.1:7002 epoch 3  127.0.0.1:7002 epoch 12  127.0.0.1:7002 master
";
    assert_eq!(block(&survey), expected);
    assert!(is_sound(&survey));
}

#[test]
fn rows_say_what_is_wrong() {
    let down = Flags {
        subjectively_down: true,
        objectively_down: true,
        failover_in_progress: false,
    };
    let down = Said::Master {
        address: host(7001),
        epoch: 1,
        flags: down,
    };
    let refused = || RoleAnswer::Denied("WRONGPASS no".to_owned());
    let yes = RoleAnswer::Master;
    let table = [
        (
            subject(
                [down, master(7002, 2)],
                &[(7001, refused()), (7002, yes.clone())],
            ),
            none(),
            "!      one     one     127.0.0.1:7001  127.0.0.1:7001 epoch 1 s_down,o_down  \
             127.0.0.1:7002 epoch 2  127.0.0.1:7001 denied, 127.0.0.1:7002 master\n  \
             server one: 127.0.0.1:7001 is denied: WRONGPASS no\n",
        ),
        (
            subject([master(7001, 1), Said::Nothing], &[(7001, yes.clone())]),
            Err(Silence::Unreachable("no answer in time".to_owned())),
            "?      one     one     127.0.0.1:7001  127.0.0.1:7001 epoch 1  unreachable  \
             127.0.0.1:7001 master\n  \
             sentinel 127.0.0.1:2: unreachable: no answer in time\n",
        ),
        (
            subject([master(7001, 1), Said::Unmonitored], &[(7001, yes.clone())]),
            none(),
            "!      one     one     127.0.0.1:7001  127.0.0.1:7001 epoch 1  unmonitored  \
             127.0.0.1:7001 master\n",
        ),
        (
            subject(
                [master(7001, 1), master(7001, 1)],
                &[(7001, RoleAnswer::Replica)],
            ),
            none(),
            "!      one     one     127.0.0.1:7001  127.0.0.1:7001 epoch 1  \
             127.0.0.1:7001 epoch 1  127.0.0.1:7001 replica\n",
        ),
        (
            Subject {
                identity: Identity::Named("onff".to_owned()),
                ..subject(
                    [Said::Unmonitored, Said::Unmonitored],
                    &[(7001, yes.clone())],
                )
            },
            none(),
            "!      one     onff    127.0.0.1:7001  unmonitored  unmonitored  \
             127.0.0.1:7001 master\n  \
             server one: no sentinel monitors 'onff'; did you mean 'onf'? (they monitor: one, onf)\n",
        ),
        (
            Subject {
                identity: Identity::Absent,
                ..subject([Said::Unasked, Said::Unasked], &[(7001, yes.clone())])
            },
            none(),
            "!      one     -       127.0.0.1:7001  -            -            \
             127.0.0.1:7001 master\n  server one: no sentinel knows 127.0.0.1:7001 as a master or \
             a replica (they monitor: one, onf)\n",
        ),
        (
            Subject {
                identity: Identity::Ambiguous(vec!["a".to_owned(), "b".to_owned()]),
                ..subject(
                    [Said::Unasked, Said::Strange("ERR x".to_owned())],
                    &[(7001, yes)],
                )
            },
            none(),
            "!      one     -       127.0.0.1:7001  -            strange      \
             127.0.0.1:7001 master\n  \
             server one: 127.0.0.1:7001 belongs to several masters: a, b\n  \
             server one: sentinel 127.0.0.1:2 answers: ERR x\n",
        ),
    ];
    for (subject, second, expected) in table {
        let survey = survey(second, subject);
        let text = block(&survey);
        let (_, rows) = text.split_once(" node\n").expect("a header");
        assert_eq!(rows, expected);
        assert!(!is_sound(&survey), "{text}");
    }
}

#[test]
fn pools_without_sentinels_are_left_out_or_refused() {
    let names = |wanted| {
        choose(&config(), wanted).map(|pools| {
            let names = pools.iter().map(|pool| pool.name.clone());
            names.collect::<Vec<_>>()
        })
    };
    assert_eq!(names(None), Ok(vec!["alpha".to_owned()]));
    assert_eq!(
        names(Some("plain")),
        Err("pool 'plain' has no sentinels".to_owned())
    );
    let unknown = names(Some("alhpa")).expect_err("there is none");
    assert!(unknown.contains("did you mean 'alpha'?"), "{unknown}");
}
