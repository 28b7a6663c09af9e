//! A failover of real sentinels, as the page tells it.

use std::time::Instant;

use crate::browser::{Browser, DESKTOP};
use crate::live::{cell, url};
use crate::sentinel::Cluster;
use crate::support::Proxy;

#[test]
fn a_failover_moves_the_row_and_appears_in_the_history() {
    let cluster = Cluster::build().hasty().start();
    let proxy = Proxy::start(&[cluster.pool()]);
    let Some(mut tab) = Browser::open(&url(&proxy), DESKTOP) else {
        return;
    };
    let [old, new] = [0, 1].map(|node| cluster.nodes(0)[node].addr().to_string());
    let at = |address: &str| format!("({}).startsWith('{address}')", cell("shard0", "endpoint"));
    tab.wait("the master is shown", &at(&old));
    tab.wait(
        "its sentinels agree",
        &format!("{} === '3/3'", cell("shard0", "views")),
    );
    tab.wait(
        "all sentinels are up",
        "document.querySelectorAll('.extra .state.ok').length === 3",
    );
    let source = tab.text(&cell("shard0", "source"));
    assert!(source.starts_with("Sentinel, "), "{source}");
    assert_eq!(
        tab.eval("document.querySelectorAll('#switch-rows tr').length"),
        0
    );

    let begin = Instant::now();
    cluster.failover(0);
    cluster.wait_switch(0, begin);
    tab.wait("the new master is shown", &at(&new));
    let rows = "document.querySelectorAll('#switch-rows tr').length === 1";
    tab.wait("the switch is in the history", rows);
    let row = tab.eval(
        "Object.fromEntries([...document.querySelectorAll('#switch-rows td')].map((td) => [td.dataset.label, td.innerText]))",
    );
    assert_eq!(row["Pool"], "failover");
    assert_eq!(row["Server"], "shard0");
    assert_eq!(row["From"], old);
    assert_eq!(row["To"], new);
    let sentinels: Vec<String> = cluster
        .sentinels()
        .iter()
        .map(|node| node.addr().to_string())
        .collect();
    let source = row["Sentinel"].as_str().expect("text");
    assert!(sentinels.iter().any(|sentinel| sentinel == source), "{row}");
    for time in ["Held", "Verified in"] {
        assert!(
            row[time].as_str().is_some_and(|text| text.ends_with('s')),
            "{row}"
        );
    }
    let when = row["When"].as_str().expect("text");
    assert!(when.ends_with("s ago"), "{row}");
    let configured = tab.text(&cell("shard0", "endpoint"));
    assert_eq!(
        configured.split_whitespace().collect::<Vec<_>>(),
        [new, old]
    );
    tab.picture("desktop-failover");
    assert_eq!(tab.complaints(), Vec::<String>::new());
}
