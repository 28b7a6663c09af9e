//! The end of the process, as its last clients see it.

use std::time::Duration;

use rustix::process::Signal;

mod support;
use support::{Pool, Proxy, RedisServer, Value, encode};

/// One client goes at once; another still reads what it is owed and talks on, which the process must hear
/// out: the kernel drops the rest of the reply when someone sends to a socket that nobody has any more.
#[test]
fn the_last_clients_have_time_to_read_their_replies() {
    let server = RedisServer::start();
    let mut proxy = Proxy::build(&[Pool::new("alpha").servers([&server])])
        .args(&["--workers", "1"])
        .start();
    let quick = proxy.client();
    let mut slow = proxy.client();
    let value = vec![b'v'; 1_000_000];
    slow.send(encode(&[b"ECHO", &value[..]]));
    slow.stream().peek(&mut [0]).expect("the reply begins");
    proxy.signal(Signal::TERM);
    quick
        .stream()
        .peek(&mut [0])
        .expect("the end of the stream");
    drop(quick);
    std::thread::sleep(Duration::from_millis(300));
    slow.send(encode(&["PING"]));
    assert_eq!(slow.read(), Value::Bulk(value));
    slow.expect_closed();
    drop(slow);
    assert!(proxy.wait().success());
}
