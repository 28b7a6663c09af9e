//! In front of real servers: what is there, what moves, what fails, and silence.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use rustix::process::Signal;

use crate::browser::{Browser, DESKTOP, PHONE};
use crate::support::{Client, Pool, Proxy, RedisServer, free_port, keys_on};

pub fn url(proxy: &Proxy) -> String {
    format!("http://127.0.0.1:{}/ui", proxy.stats_addr().1)
}

/// A cell of a server's row, as an expression.
pub fn cell(server: &str, column: &str) -> String {
    format!(
        "(document.querySelector('[data-server={server}] [data-column={column}]')?.innerText ?? '')"
    )
}

/// A figure of a pool, as an expression.
pub fn figure(pool: &str, name: &str) -> String {
    format!("document.querySelector('[data-pool={pool}] [data-figure={name}]').innerText")
}

/// Commands one after the other until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    fn start(mut client: Client, commands: Vec<Vec<String>>) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Relaxed) {
                for command in &commands {
                    client.cmd(command);
                }
            }
        });
        Load {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))) || thread::panicking());
    }
}

fn get(key: &str) -> Vec<String> {
    vec!["GET".to_owned(), key.to_owned()]
}

#[test]
fn pools_servers_and_moving_numbers_are_shown() {
    let servers = [RedisServer::start(), RedisServer::start()];
    let nowhere = format!("127.0.0.1:{}", free_port());
    let alpha = Pool::new("alpha").servers(&servers);
    let beta = Pool::new("beta").server(&format!("{nowhere}:1 gone"));
    let pools = [alpha.clone(), beta.clone()];
    let proxy = Proxy::build(&pools).args(&["--workers", "2"]).start();
    let Some(mut tab) = Browser::open(&url(&proxy), DESKTOP) else {
        return;
    };
    tab.wait(
        "both pools are shown",
        "document.querySelectorAll('.pool').length === 2",
    );
    let names = "[...document.querySelectorAll('.pool')].map((pool) => pool.querySelector('h2').innerText + ': '
        + [...pool.querySelectorAll('tbody th')].map((name) => name.innerText)).join('; ')";
    assert_eq!(tab.text(names), "alpha: server1,server2; beta: gone");
    let listen = "document.querySelector('[data-pool=alpha] summary .address').innerText";
    let address = format!("127.0.0.1:{}", alpha.addr().1);
    assert_eq!(tab.text(listen), address);
    assert_eq!(tab.text(&cell("server1", "endpoint")), servers[0].addr());
    assert_eq!(tab.text(&cell("server2", "endpoint")), servers[1].addr());
    assert_eq!(tab.text(&cell("gone", "endpoint")), nowhere);
    assert_eq!(tab.text(&cell("server1", "source")), "fixed");
    assert_eq!(
        tab.text("document.getElementById('version').innerText"),
        env!("CARGO_PKG_VERSION")
    );
    let workers = "document.querySelector('#totals [data-figure=workers]').innerText";
    assert_eq!(tab.text(workers), "2");
    let no_switches = "!document.getElementById('no-switches').hidden";
    assert_eq!(tab.eval(no_switches), true);
    tab.wait(
        "nobody failed",
        "document.getElementById('overall').innerText === 'all well'",
    );

    let gets = [1, 2].map(|server| get(&keys_on(server, 2)[0]));
    let load = Load::start(Client::connect(alpha.addr()), gets.to_vec());
    for server in ["server1", "server2"] {
        tab.wait(
            "requests are counted",
            &format!("parseFloat({}) > 0", cell(server, "requests")),
        );
        tab.wait(
            "replies are counted",
            &format!("parseFloat({}) > 0", cell(server, "response_bytes")),
        );
        tab.wait("it is up", &format!("{} === 'up'", cell(server, "state")));
    }
    tab.wait(
        "the pool's are counted",
        &format!("parseFloat({}) > 0", figure("alpha", "requests")),
    );
    tab.wait(
        "the client is counted",
        &format!("{} === '1'", figure("alpha", "clients")),
    );
    assert_eq!(tab.text(&cell("gone", "state")), "idle");
    tab.wait(
        "the line is drawn",
        "document.querySelector('[data-server=server1] svg path').getAttribute('d').length > 20",
    );
    let failing = Load::start(Client::connect(beta.addr()), vec![get("k")]);
    tab.wait(
        "it fails",
        &format!("{} === 'failing'", cell("gone", "state")),
    );
    tab.wait(
        "its errors are counted",
        &format!("parseFloat({}) > 0", cell("gone", "allErrors")),
    );
    tab.wait(
        "clients see errors",
        &format!("parseFloat({}) > 0", figure("beta", "errors")),
    );
    let listed = "document.getElementById('problem-list').innerText.includes('beta / gone')";
    tab.wait("the problem is listed", listed);
    assert_eq!(
        tab.text("document.getElementById('overall').innerText"),
        "1 failing"
    );
    tab.assert_fits();
    tab.picture("desktop-failing");
    drop((load, failing));
    tab.wait(
        "the traffic has ended",
        &format!("{} === '0'", cell("server1", "requests")),
    );
    assert_eq!(tab.complaints(), Vec::<String>::new());

    let host = url(&proxy).replace("/ui", "");
    let ours = ["/ui", "/stats", "/topology"].map(|path| format!("{host}{path}"));
    let requested = tab.requested();
    assert!(requested.len() > 10, "{requested:?}");
    let foreign = |url: &&String| !ours.contains(url) && !url.starts_with("data:");
    assert_eq!(requested.iter().find(foreign), None);
}

#[test]
fn silence_of_the_proxy_is_told_with_the_age_of_the_data() {
    let servers = [RedisServer::start()];
    let mut proxy = Proxy::start(&[Pool::new("alpha").servers(&servers)]);
    let Some(mut tab) = Browser::open(&url(&proxy), PHONE) else {
        return;
    };
    let banner = "!document.getElementById('banner').hidden";
    tab.wait(
        "the pool is shown",
        "document.querySelector('[data-server=server1]')",
    );
    tab.wait("it answers", &format!("!({banner})"));
    // Connections are taken by the kernel and nothing is said on them.
    proxy.signal(Signal::STOP);
    tab.wait("the silence is told", banner);
    let text = tab.text("document.getElementById('banner').innerText");
    assert!(text.starts_with("The proxy does not answer."), "{text}");
    proxy.signal(Signal::CONT);
    tab.wait("it answers again", &format!("!({banner})"));
    proxy.signal(Signal::KILL);
    proxy.wait();
    tab.wait("the end is told", banner);
    let age = "parseInt(document.getElementById('banner-age').innerText.match(/\\d+/)[0])";
    tab.wait("its age grows", &format!("{age} >= 4"));
    let kept = tab.text("document.querySelector('[data-server=server1] th').innerText");
    assert_eq!(kept, "server1", "what was known stays");
    tab.picture("phone-silence");
    assert_eq!(tab.complaints(), Vec::<String>::new());
}

/// Nothing that a file can call a pool or a server is markup to the page.
#[test]
fn names_are_text() {
    let nowhere = format!("127.0.0.1:{}", free_port());
    let server = "<img/src=x/onerror=window.harmed=1><script>window.harmed=2</script>";
    let pool = "\"<svg/onload=window.harmed=3>'&amp;\"";
    // Names of what every report has, and of what every object has.
    let odd = [
        "__proto__",
        "5",
        "17",
        "constructor",
        "requests",
        "server_err",
    ];
    let lines = odd.map(|name| format!("{nowhere}:1 {name}"));
    let pools = [
        Pool::new(&format!("'{}'", pool.replace('\'', "''")))
            .server(&format!("'{nowhere}:1 {server}'")),
        lines.iter().fold(Pool::new("uptime"), |pool, line| {
            pool.server(&format!("'{line}'"))
        }),
        Pool::new("__proto__").server(&format!("{nowhere}:1 hasOwnProperty")),
    ];
    let proxy = Proxy::start(&pools);
    let Some(mut tab) = Browser::open(&url(&proxy), DESKTOP) else {
        return;
    };
    tab.wait(
        "all pools are shown",
        "document.querySelectorAll('.pool').length === 3",
    );
    let shown = tab.eval("[...document.querySelectorAll('.pool h2, .pool tbody th')].map((node) => node.textContent)");
    let expected = [
        &["__proto__", "hasOwnProperty", pool, server, "uptime"][..],
        &odd,
    ]
    .concat();
    assert_eq!(shown, serde_json::json!(expected));
    // In the problems' list as well.
    Client::connect(pools[0].addr()).cmd(&["GET", "k"]);
    let listed =
        "document.getElementById('problem-list').textContent.includes('<script>window.harmed=2')";
    tab.wait("the problem is listed", listed);
    assert_eq!(tab.eval("window.harmed ?? null"), serde_json::Value::Null);
    assert_eq!(
        tab.eval("document.querySelectorAll('img, script').length"),
        1,
        "the page's own"
    );
    assert_eq!(
        tab.eval("document.querySelectorAll('svg:not(.line)').length"),
        0
    );
    // A pool without numbers of its own has none, not those of the header.
    assert_eq!(tab.text(&cell("requests", "inQueue")), "0");
    assert_eq!(tab.complaints(), Vec::<String>::new());
}

#[test]
fn the_policy_stops_what_would_be_put_into_the_page() {
    let servers = [RedisServer::start()];
    let proxy = Proxy::start(&[Pool::new("alpha").servers(&servers)]);
    let Some(mut tab) = Browser::open(&url(&proxy), DESKTOP) else {
        return;
    };
    tab.eval("document.body.insertAdjacentHTML('beforeend', '<img src=/stats onerror=\"window.harmed=1\">')");
    tab.eval("document.body.append(Object.assign(document.createElement('script'), {text: 'window.harmed=2'}))");
    tab.eval("fetch('http://127.0.0.1:1/').catch(() => { window.refused = true; })");
    tab.wait("another origin is refused", "window.refused");
    let blocked = tab.complaints();
    for directive in ["img-src", "script-src", "connect-src"] {
        let told = blocked.iter().any(|text| text.contains(directive));
        assert!(told, "{directive}: {blocked:?}");
    }
    assert_eq!(tab.eval("window.harmed ?? null"), serde_json::Value::Null);
}
