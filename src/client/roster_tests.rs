use super::super::Step;
use super::super::world_tests::request;
use super::*;
use crate::stats::WorkerStats;
use crate::topology::Topology;

const TWO_POOLS: &str = "p:\n  listen: 127.0.0.1:1\n  redis: true\n  servers:\n   - 127.0.0.1:7000:1\n\
                         q:\n  listen: /s\n  redis: true\n  redis_db: 3\n  servers:\n   - 127.0.0.1:7001:1\n";

/// The workers of one process, and the post between them.
struct Office {
    fronts: Vec<Front>,
    now: Now,
}

impl Office {
    fn new(workers: u16) -> Office {
        let config = crate::config::parse(TWO_POOLS, "f").unwrap().config;
        let front = |worker| {
            let topology = Arc::new(Topology::initial(&config));
            let stats = Arc::new(WorkerStats::new(&[1, 1]));
            Front::new(topology, stats, 1 << 30, Place { worker, workers }, 1)
        };
        Office {
            fronts: (0..workers).map(front).collect(),
            now: Now::new(0),
        }
    }

    /// A client of a pool at a worker, with a name and with a port as large as the number.
    fn client(&mut self, worker: usize, pool: u16, name: &str) -> (usize, ClientId) {
        let peer = Peer::V4([10, 0, 0, 1].into(), name.len() as u16);
        let id = self.fronts[worker].open(pool, peer, self.now);
        let client = (worker, id);
        assert_eq!(
            self.ask(client, &format!("client setname {name}")),
            "+OK\r\n"
        );
        client
    }

    fn send(&mut self, (worker, id): (usize, ClientId), text: &str) {
        let words = text.split(' ').map(|word| word.as_bytes().to_vec());
        let bytes = request(&words.collect::<Vec<_>>());
        self.fronts[worker].handle_input(id, &bytes, self.now);
    }

    fn read(&mut self, (worker, id): (usize, ClientId)) -> String {
        let mut read = Vec::new();
        let flushed = self.fronts[worker].flush_client(id, |slices| {
            let before = read.len();
            slices
                .iter()
                .for_each(|slice| read.extend_from_slice(slice));
            Ok(read.len() - before)
        });
        flushed.unwrap();
        String::from_utf8(read).unwrap()
    }

    /// Lets every question be answered, in any order of workers.
    fn deliver(&mut self) {
        for from in 0..self.fronts.len() {
            for asked in self.fronts[from].take_asked() {
                let answer = self.fronts[usize::from(asked.to)].answer(&asked.question, self.now);
                self.fronts[from].handle_answer(asked.call, &answer, self.now);
            }
        }
    }

    fn ask(&mut self, client: (usize, ClientId), text: &str) -> String {
        self.send(client, text);
        self.deliver();
        self.read(client)
    }

    fn state(&self, (worker, id): (usize, ClientId)) -> State {
        self.fronts[worker].clients.table[id as usize].state
    }

    fn step(&mut self, (worker, id): (usize, ClientId)) -> Step {
        let now = self.now;
        self.fronts[worker].step(id, &|| now)
    }
}

/// The values of one field, line by line.
fn values(list: &str, field: &str) -> Vec<String> {
    let prefix = format!("{field}=");
    let lines = list.lines().filter(|line| line.starts_with("id="));
    let value = |line: &str| {
        line.split(' ')
            .find_map(|word| word.strip_prefix(&prefix).map(str::to_owned))
    };
    lines.map(|line| value(line).expect(field)).collect()
}

#[test]
fn a_list_has_the_clients_of_a_pool_at_all_workers() {
    for workers in 1..4 {
        let mut office = Office::new(workers);
        let last = usize::from(workers) - 1;
        let asker = office.client(last, 0, "asker");
        office.client(0, 0, "first");
        office.client(0, 1, "stranger");
        office.now = Now::new(10_000_000);
        office.client(last, 0, "later");
        office.now = Now::new(17_999_999);
        let list = office.ask(asker, "CLIENT list");
        let mut names = values(&list, "name");
        names.sort();
        assert_eq!(names, ["asker", "first", "later"]);
        let mut ages = values(&list, "age");
        ages.sort();
        assert_eq!(ages, ["17", "17", "7"]);
        let line = list
            .lines()
            .find(|line| line.contains("name=asker"))
            .unwrap();
        let id = office.fronts[last].clients.table[asker.1 as usize]
            .session
            .id;
        let memory = line
            .split("tot-mem=")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap();
        assert!(memory.parse::<usize>().unwrap() >= size_of::<Client>());
        assert_eq!(
            line,
            format!(
                "id={id} addr=10.0.0.1:5 laddr=127.0.0.1:1 fd=0 name=asker age=17 idle=0 flags=N db=0 sub=0 \
                 psub=0 ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 \
                 omem=0 tot-mem={memory} events=r cmd=client|list user=default redir=-1 resp=2 lib-name= \
                 lib-ver="
            )
        );
        let stranger = office.client(0, 1, "s");
        let list = office.ask(stranger, "CLIENT LIST");
        assert_eq!(values(&list, "laddr"), ["/s:0", "/s:0"]);
        assert_eq!(values(&list, "db"), ["3", "3"]);
    }
}

#[test]
fn a_client_finds_itself_at_its_own_worker() {
    let mut office = Office::new(2);
    let client = office.client(1, 0, "me");
    office.client(1, 0, "other");
    office.send(client, "client info");
    assert!(office.fronts[1].take_asked().is_empty());
    let info = office.read(client);
    assert_eq!(values(&info, "name"), ["me"]);
    assert_eq!(values(&info, "cmd"), ["client|info"]);
}

#[test]
fn options_narrow_lists_and_kills() {
    let mut office = Office::new(2);
    let asker = office.client(0, 0, "asker");
    let victim = office.client(1, 0, "victim");
    office.client(0, 0, "neighbour");
    let id = |office: &Office, (worker, id): (usize, ClientId)| {
        office.fronts[worker].clients.table[id as usize].session.id
    };
    let (own, other) = (id(&office, asker), id(&office, victim));
    let list = office.ask(asker, &format!("client list id {other} 77 {own} {own}"));
    let mut names = values(&list, "name");
    names.sort();
    assert_eq!(names, ["asker", "victim"]);
    assert_eq!(office.ask(asker, "client list type pubsub"), "$0\r\n\r\n");
    assert_eq!(
        values(&office.ask(asker, "client list type NORMAL"), "id").len(),
        3
    );
    for (kill, reply) in [
        (
            "client kill 10.0.0.1:1",
            "-ERR No such client\r\n".to_owned(),
        ),
        ("client kill id 77", ":0\r\n".to_owned()),
        (
            "client kill addr 10.0.0.1:6 type pubsub",
            ":0\r\n".to_owned(),
        ),
        ("client kill addr 10.0.0.1:6 maxage 1", ":0\r\n".to_owned()),
        ("client kill addr 10.0.0.1:5", ":0\r\n".to_owned()),
        ("client kill laddr 127.0.0.1:2", ":0\r\n".to_owned()),
    ] {
        assert_eq!(office.ask(asker, kill), reply, "{kill}");
    }
    assert_eq!(office.state(victim), State::Open);
    assert_eq!(
        office.ask(asker, &format!("client kill id {other}")),
        ":1\r\n"
    );
    assert_eq!(office.state(victim), State::Dead);
    assert_eq!(office.step(victim), Step::Abort);
    assert!(office.fronts[1].take_woken(Vec::new()).contains(&victim.1));
    assert_eq!(values(&office.ask(asker, "client list"), "id").len(), 2);
    assert_eq!(office.ask(asker, "client kill laddr 127.0.0.1:1"), ":1\r\n");
    assert_eq!(values(&office.ask(asker, "client list"), "name"), ["asker"]);
}

#[test]
fn who_kills_himself_gets_the_reply() {
    for kill in [
        "client kill 10.0.0.1:2",
        "client kill type normal skipme no",
    ] {
        let mut office = Office::new(2);
        let asker = office.client(0, 0, "me");
        office.send(asker, kill);
        office.send(asker, "ping");
        assert_eq!(office.step(asker), Step::Wait);
        office.deliver();
        let reply = office.read(asker);
        assert!(["+OK\r\n", ":1\r\n"].contains(&&*reply), "{reply}");
        assert_eq!(office.step(asker), Step::Finish);
    }
}

#[test]
fn questions_are_asked_one_by_one_and_answered_in_their_place() {
    let mut office = Office::new(2);
    let client = office.client(0, 0, "me");
    let one = request(&[b"client".to_vec(), b"list".to_vec()]);
    let ping = request(&[b"ping".to_vec()]);
    let all = [&one[..], &ping, &one, &ping].concat();
    office.fronts[0].handle_input(client.1, &all, office.now);
    let mut read = String::new();
    // Behind the first answer it goes on up to the second question.
    for then in [Step::Wait, Step::Read] {
        let asked = office.fronts[0].take_asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(office.step(client), Step::Wait);
        assert!(office.fronts[0].take_asked().is_empty());
        let answer = office.fronts[1].answer(&asked[0].question, office.now);
        office.fronts[0].handle_answer(asked[0].call, &answer, office.now);
        assert!(office.fronts[0].take_woken(Vec::new()).contains(&client.1));
        assert_eq!(office.step(client), then);
        read += &office.read(client);
    }
    let kinds: String = read
        .lines()
        .filter_map(|line| line.chars().next())
        .collect();
    assert_eq!(kinds, "$i+$i+");
}

#[test]
fn an_answer_to_who_has_left_is_nobodys() {
    let mut office = Office::new(2);
    let (_, id) = office.client(0, 0, "gone");
    office.send((0, id), "client list");
    let asked = office.fronts[0].take_asked();
    office.fronts[0].close(id, true);
    let next = office.client(0, 0, "next");
    assert_eq!(next.1, id, "it has the place of the one before");
    office.fronts[0].handle_answer(asked[0].call, &asked[0].question.nobody(), office.now);
    assert_eq!(office.read(next), "");
    assert_eq!(office.ask(next, "ping"), "+PONG\r\n");
}

#[test]
fn a_worker_that_is_gone_has_nobody() {
    let mut office = Office::new(2);
    let client = office.client(0, 0, "me");
    for (text, reply) in [
        ("client kill id 77", ":0\r\n"),
        ("client kill 10.0.0.1:9", "-ERR No such client\r\n"),
    ] {
        office.send(client, text);
        let asked = office.fronts[0].take_asked();
        office.fronts[0].handle_answer(asked[0].call, &asked[0].question.nobody(), office.now);
        assert_eq!(office.read(client), reply);
        assert_eq!(office.step(client), Step::Read);
    }
    // That has not heard of the pool yet.
    let config = crate::config::parse(TWO_POOLS.split_once("q:").unwrap().0, "f").unwrap();
    let topology = Arc::new(Topology::initial(&config.config));
    let stats = Arc::new(WorkerStats::new(&[1]));
    let place = Place {
        worker: 1,
        workers: 2,
    };
    office.fronts[1] = Front::new(topology, stats, 1 << 30, place, 1);
    let client = office.client(0, 1, "q");
    assert_eq!(values(&office.ask(client, "client list"), "name"), ["q"]);
}

#[test]
fn lists_come_as_text_to_version_3_and_not_at_all_to_the_mute() {
    let mut office = Office::new(2);
    let client = office.client(0, 0, "me");
    office.ask(client, "hello 3");
    assert!(office.ask(client, "client list").starts_with("="));
    assert!(
        office
            .ask(client, "client list id 7")
            .starts_with("=4\r\ntxt:\r\n")
    );
    assert_eq!(office.ask(client, "client reply skip"), "");
    assert_eq!(office.ask(client, "client list"), "");
    assert_eq!(office.ask(client, "ping"), "+PONG\r\n");
    assert_eq!(office.ask(client, "client reply off"), "");
    assert_eq!(office.ask(client, "client list"), "");
    assert_eq!(office.ask(client, "client info"), "");
    assert_eq!(office.ask(client, "nonsense"), "");
    assert_eq!(office.ask(client, "client reply on"), "+OK\r\n");
    assert_eq!(office.ask(client, "ping"), "+PONG\r\n");
}
