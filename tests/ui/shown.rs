//! What the page makes of reports written for the test: every state, values that are there or not,
//! restarts, many servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::browser::{Browser, DESKTOP, PHONE, Screen};
use crate::live::{cell, figure};
use crate::reports::{cache, many, troubled};
use crate::scripted::Scripted;

#[test]
fn what_is_not_reported_is_left_out_and_what_is_is_shown_with_its_unit() {
    let (stats, topology) = cache(1000);
    let scripted = Scripted::start(stats, topology);
    let Some(mut tab) = Browser::open(&scripted.url(), DESKTOP) else {
        return;
    };
    tab.wait(
        "there are rates",
        &format!("{} === '0'", cell("one", "requests")),
    );
    for column in ["p50", "p99", "p999", "max"] {
        assert_eq!(tab.text(&cell("one", column)), "\u{2013}");
        assert_eq!(tab.text(&figure("cache", column)), "\u{2013}");
    }
    let total =
        |name: &str| format!("document.querySelector('#totals [data-figure={name}]').innerText");
    assert_eq!(tab.text(&total("uptime")), "1 h 0 min");
    assert_eq!(tab.text(&total("buffered")), "3.00 MB");
    assert_eq!(
        tab.text("document.getElementById('host').innerText"),
        "proxy-1.example"
    );
    let memory = "document.querySelector('#totals [data-figure=resident]').parentNode.hidden";
    assert_eq!(tab.eval(memory), true);
    let commands = "document.querySelector('.extra').hidden";
    assert_eq!(tab.eval(commands), true);

    scripted.change(|stats, _| {
        stats["resident_bytes"] = json!(52_428_800);
        let times = [
            ("p50", 180),
            ("p99", 2_340),
            ("p999", 45_600),
            ("max", 1_234_567),
        ];
        for (name, micros) in times {
            stats["cache"][format!("latency_{name}_us")] = json!(micros);
            stats["cache"]["one"][format!("latency_{name}_us")] = json!(micros);
            stats["cache"]["two"][format!("latency_{name}_us")] = json!(0);
        }
        stats["cache"]["commands_read"] = json!(70);
        stats["cache"]["protocol_errors"] = json!(12_345);
    });
    tab.wait(
        "the memory is shown",
        &format!("{} === '50.0 MB'", total("resident")),
    );
    assert_eq!(tab.eval(memory), false);
    let times = [
        ("p50", "0.18 ms"),
        ("p99", "2.34 ms"),
        ("p999", "45.6 ms"),
        ("max", "1.23 s"),
    ];
    for (column, text) in times {
        assert_eq!(tab.text(&cell("one", column)), text);
        assert_eq!(tab.text(&cell("two", column)), "\u{2013}");
        assert_eq!(tab.text(&figure("cache", column)), text);
    }
    assert_eq!(tab.text(&figure("cache", "protocol_errors")), "12.3k");
    let read = "document.querySelector('.extra .list').innerText";
    tab.wait(
        "the rate of a class is shown",
        &format!("{read} === 'read 0'"),
    );
    assert_eq!(tab.complaints(), Vec::<String>::new());
}

/// Counters that fall have begun anew: no rate then, above all none that is negative.
#[test]
fn a_restart_is_no_traffic() {
    let (stats, topology) = cache(1_000_000);
    let scripted = Scripted::start(stats, topology);
    let Some(mut tab) = Browser::open(&scripted.url(), DESKTOP) else {
        return;
    };
    tab.wait(
        "there are rates",
        &format!("{} === '0'", cell("one", "requests")),
    );
    // Every text that the cell ever has.
    tab.eval(
        "window.seen = []; new MutationObserver(() => seen.push(document.querySelector(
            '[data-server=one] [data-column=requests]').textContent)).observe(
            document.querySelector('[data-server=one]'), {childList: true, subtree: true, characterData: true})",
    );
    let (mut restarted, _) = cache(5_000_000);
    restarted["uptime"] = json!(1);
    scripted.change(|stats, _| *stats = restarted);
    tab.wait(
        "the restart is noticed",
        "seen.includes('\\u2013') && seen.at(-1) === '0'",
    );
    scripted.change(|stats, _| stats["cache"]["one"]["requests"] = json!(7));
    tab.wait(
        "so is a counter that fell",
        "seen.filter((text) => text === '\\u2013').length > 1",
    );
    tab.wait("and the next rate is one", "seen.at(-1) === '0'");
    let others = tab.eval("seen.filter((text) => text !== '0' && text !== '\\u2013')");
    assert_eq!(others, json!([]));
    assert_eq!(tab.complaints(), Vec::<String>::new());
}

#[test]
fn every_state_has_its_word_and_troubles_are_listed() {
    let (stats, topology) = troubled();
    let scripted = Scripted::start(stats, topology);
    let Some(mut tab) = Browser::open(&scripted.url(), DESKTOP) else {
        return;
    };
    tab.wait(
        "all is shown",
        "document.querySelectorAll('.pool').length === 2",
    );
    for (server, state, level) in [
        ("well", "up", ""),
        ("held", "held", "warn"),
        ("lost", "no master", "bad"),
        ("suspect", "suspect", "warn"),
        ("moved", "up", ""),
        ("split", "up", ""),
        ("asking", "verifying", "warn"),
        ("ejected", "ejected", "bad"),
        ("first", "up", ""),
        ("second", "no address", "bad"),
    ] {
        assert_eq!(tab.text(&cell(server, "state")), state, "{server}");
        let row = format!("document.querySelector('[data-server={server}]').className");
        assert_eq!(tab.text(&row), level, "{server}");
    }
    for (server, said) in [
        ("well", "3/3"),
        ("lost", "2/3"),
        ("split", "2/3"),
        ("suspect", "3/3"),
    ] {
        assert_eq!(tab.text(&cell(server, "views")), said, "{server}");
        let marked =
            format!("document.querySelector('[data-server={server}] .views .warn') !== null");
        let expected = ["split", "suspect"].contains(&server);
        assert_eq!(tab.eval(&marked), expected, "{server}");
    }
    let source = tab.text(&cell("well", "source"));
    assert_eq!(source, "Sentinel, 2 h");
    let problems = tab.text("document.getElementById('problem-list').textContent");
    for text in [
        "sessions / held",
        "held: 17 requests waiting for 10.0.1.2:6379, at most 840 ms more",
        "no master (no sentinel answers)",
        "10.9.0.1:26379 says that it is down",
        "10.9.0.3:26379 says 10.0.9.9:6379 (epoch 7)",
        "asking 10.0.1.7:6379 whether it is a master",
        "sentinel is not up: connection refused",
        "ejected: 12 s ago",
        "other.example (no address yet)",
    ] {
        assert!(problems.contains(text), "no {text} in {problems}");
    }
    assert_eq!(
        tab.text("document.getElementById('overall').innerText"),
        "3 failing"
    );
    let switches = tab.eval(
        "[...document.querySelectorAll('#switch-rows tr')].map((row) => [...row.cells].slice(1).map((cell) => cell.innerText).join(' '))",
    );
    assert_eq!(
        switches,
        json!([
            "sessions moved 10.0.2.5:6379 10.0.1.5:6379 +switch-master 10.9.0.2:26379 8 1.24 s 812 ms 4 ms",
            "sessions moved 10.0.0.5:6379 10.0.2.5:6379 +switch-master forgotten 8 1.24 s 812 ms 4 ms",
        ]),
        "newest first, without the first address of each"
    );
    for (name, screen) in [
        ("desktop", DESKTOP),
        (
            "desktop-dark",
            Screen {
                dark: true,
                ..DESKTOP
            },
        ),
        (
            "narrow",
            Screen {
                width: 900,
                ..DESKTOP
            },
        ),
        ("phone", PHONE),
        (
            "phone-dark",
            Screen {
                dark: true,
                ..PHONE
            },
        ),
    ] {
        tab.look(screen);
        tab.assert_fits();
        tab.picture(&format!("states-{name}"));
    }
    assert_eq!(tab.complaints(), Vec::<String>::new());
}

#[test]
fn hundreds_of_servers_can_be_searched_and_put_away() {
    let (stats, topology) = many(300, 1);
    let scripted = Scripted::start(stats, topology);
    let Some(mut tab) = Browser::open(&scripted.url(), DESKTOP) else {
        return;
    };
    tab.wait(
        "all are shown",
        "document.querySelectorAll('tbody [data-server]').length === 300",
    );
    let visible = "[...document.querySelectorAll('[data-server]')].filter((row) => row.checkVisibility()).length";
    assert_eq!(tab.eval(visible), 300);
    let set = |text: &str| {
        format!(
            "document.getElementById('filter').value = '{text}'; document.getElementById('filter').dispatchEvent(new Event('input'))"
        )
    };
    tab.eval(&set("SHARD04 10.0.0"));
    assert_eq!(tab.eval(visible), 10);
    assert_eq!(
        tab.text("document.getElementById('shown').innerText"),
        "10 of 300 servers"
    );
    tab.eval(&set("nobody"));
    assert_eq!(tab.eval("document.querySelector('.pool').hidden"), true);
    tab.eval(&set(""));
    scripted.change(|_, topology| {
        topology["pools"][0]["servers"][299]["endpoint"] = json!("no master (gone)")
    });
    tab.wait(
        "one has failed",
        &format!("{} === 'no master'", cell("shard299", "state")),
    );
    tab.eval("document.getElementById('only-problems').click()");
    assert_eq!(tab.eval(visible), 1);
    tab.eval("document.getElementById('only-problems').click()");
    tab.eval("document.getElementById('fold').click()");
    assert_eq!(tab.eval(visible), 0);
    tab.wait(
        "the button offers the way back",
        "document.getElementById('fold').innerText === 'Expand all'",
    );
    tab.eval("document.getElementById('fold').click()");
    assert_eq!(tab.eval(visible), 300);
    // A configuration read anew: servers come and go.
    let (stats, topology) = many(60, 1);
    scripted.change(|s, t| (*s, *t) = (stats, topology));
    tab.wait(
        "the others are gone",
        "document.querySelectorAll('[data-server]').length === 60",
    );
    let stop = Arc::new(AtomicBool::new(false));
    let ticking = thread::spawn({
        let (stop, scripted) = (Arc::clone(&stop), scripted.clone());
        move || {
            for tick in (2..).take_while(|_| !stop.load(Relaxed)) {
                let (stats, topology) = many(60, tick);
                scripted.change(|s, t| (*s, *t) = (stats, topology));
                thread::sleep(Duration::from_millis(250));
            }
        }
    });
    tab.wait(
        "there is traffic",
        &format!("parseFloat({}) > 0", figure("users", "requests")),
    );
    tab.assert_fits();
    if tab.takes_pictures() {
        tab.wait(
            "lines have a shape",
            "page.shown.pools[0].track.requests.length > 40",
        );
    }
    tab.picture("many-desktop");
    tab.look(Screen {
        dark: true,
        ..DESKTOP
    });
    tab.picture("many-desktop-dark");
    tab.look(PHONE);
    tab.assert_fits();
    tab.picture("many-phone");
    stop.store(true, Relaxed);
    ticking.join().expect("it counted");
    assert_eq!(tab.complaints(), Vec::<String>::new());
}

#[test]
fn an_answer_that_is_none_is_told_and_what_was_known_stays() {
    let (stats, topology) = cache(10);
    let scripted = Scripted::start(stats.clone(), topology.clone());
    let Some(mut tab) = Browser::open(&scripted.url(), DESKTOP) else {
        return;
    };
    let banner = "document.getElementById('banner').hidden ? '' : document.getElementById('banner').innerText";
    let row = "document.querySelector('[data-server=one]') !== null";
    tab.wait("the servers are shown", row);
    scripted.set_status(Some(503));
    tab.wait(
        "the status is told",
        &format!("({banner}).includes('/stats answers with status 503.')"),
    );
    scripted.set_status(None);
    tab.wait("it is well again", &format!("({banner}) === ''"));
    for nonsense in [
        json!(null),
        json!({}),
        json!({"pools": 5}),
        json!("text"),
        json!({"pools": [{}]}),
    ] {
        scripted.change(|_, topology| *topology = nonsense.clone());
        tab.wait(
            &format!("{nonsense} is refused"),
            &format!("({banner}).includes('cannot be shown')"),
        );
        scripted.change(|_, t| *t = topology.clone());
        tab.wait("it is well again", &format!("({banner}) === ''"));
    }
    assert_eq!(tab.eval(row), true);
    // Numbers that are none are not there.
    scripted.change(|stats, _| {
        *stats = json!({"uptime": "x", "cache": {"one": {"requests": {}, "in_queue": null}, "two": 7}});
    });
    tab.wait(
        "they are not shown",
        &format!("{} === '\\u2013'", cell("one", "inQueue")),
    );
    assert_eq!(tab.text(&cell("two", "allErrors")), "\u{2013}");
    assert_eq!(tab.complaints(), Vec::<String>::new());
}

#[test]
fn a_tab_that_nobody_sees_asks_nothing() {
    let (stats, topology) = cache(10);
    let scripted = Scripted::start(stats, topology);
    let Some(mut tab) = Browser::open(&scripted.url(), DESKTOP) else {
        return;
    };
    let hide = |hidden: bool| {
        format!(
            "Object.defineProperty(document, 'hidden', {{value: {hidden}, configurable: true}});
        document.dispatchEvent(new Event('visibilitychange'))"
        )
    };
    tab.wait("it asks", "page.shown !== null");
    tab.eval(&hide(true));
    tab.wait("the last question is answered", "!page.asking");
    let asked = scripted.asked();
    thread::sleep(Duration::from_millis(4000));
    assert_eq!(scripted.asked(), asked);
    assert_eq!(tab.eval("document.getElementById('banner').hidden"), true);
    tab.eval(&hide(false));
    let asked = asked + 4;
    while scripted.asked() < asked {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(
        tab.eval("document.getElementById('banner').hidden"),
        true,
        "it was no silence"
    );
    assert_eq!(tab.complaints(), Vec::<String>::new());
}
