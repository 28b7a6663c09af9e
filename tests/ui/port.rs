//! How the page is served, without a browser.

use crate::scripted::reply_of;
use crate::support::{Pool, Proxy, free_port};

fn proxy() -> Proxy {
    let nowhere = format!("127.0.0.1:{}:1", free_port());
    Proxy::start(&[Pool::new("any").server(&nowhere)])
}

#[test]
fn the_page_is_html_that_may_load_nothing() {
    let reply = reply_of(&proxy(), "GET /ui HTTP/1.1\r\nHost: proxy\r\n\r\n");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a body");
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    for line in [
        "content-type: text/html; charset=utf-8",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        &format!("content-length: {}", body.len()),
        "content-security-policy: default-src 'none'; connect-src 'self'; ",
    ] {
        assert!(head.contains(line), "no {line} in\n{head}");
    }
    assert!(!head.contains("unsafe-"), "{head}");
    assert!(body.starts_with("<!DOCTYPE html>"), "{body}");
    assert!(body.ends_with("</html>\n"), "{body}");
}

#[test]
fn head_has_the_same_headers_and_no_body() {
    let proxy = proxy();
    let [get, head] = ["GET", "HEAD"].map(|method| {
        let reply = reply_of(&proxy, &format!("{method} /ui HTTP/1.0\r\n\r\n"));
        let (head, body) = reply.split_once("\r\n\r\n").expect("a body");
        let lines = head.lines().filter(|line| !line.starts_with("date: "));
        (lines.collect::<Vec<_>>().join("\n"), body.len())
    });
    assert_eq!(get.0, head.0);
    assert!(get.1 > 10_000, "{}", get.1);
    assert_eq!(head.1, 0);
}

#[test]
fn other_methods_are_refused() {
    let reply = reply_of(&proxy(), "POST /ui HTTP/1.0\r\n\r\n");
    assert!(reply.starts_with("HTTP/1.0 405 "), "{reply}");
}
