//! What each path answers, and what is answered elsewhere.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::{Port, parts};

#[test]
fn every_path_has_its_content_type_and_takes_head() {
    let port = Port::start();
    for (path, status, content_type) in [
        ("/", 200, "application/json"),
        ("/stats", 200, "application/json"),
        ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"),
        ("/health", 200, "text/plain; charset=utf-8"),
        ("/ready", 503, "application/json"),
        ("/topology", 200, "application/json"),
        ("/ui", 200, "text/html; charset=utf-8"),
        ("/config", 200, "application/json"),
        ("/version", 200, "application/json"),
    ] {
        for method in ["GET", "HEAD"] {
            let reply = port.ask(&format!("{method} {path} HTTP/1.1\r\nHost: proxy\r\n\r\n"));
            let (line, headers, body) = parts(&reply);
            assert!(
                line.starts_with(&format!("HTTP/1.1 {status} ")),
                "{path}: {line}"
            );
            for header in [
                format!("content-type: {content_type}"),
                "cache-control: no-store".to_string(),
            ] {
                assert!(headers.contains(&header), "{path}: {headers:?}");
            }
            assert_eq!(body.is_empty(), method == "HEAD", "{path}: {body}");
            assert!(!reply.contains("sesame"), "{path}: {reply}");
        }
    }
}

#[test]
fn a_scraper_gets_the_format_it_asks_for() {
    let port = Port::start();
    let ask = |accept: &str| {
        let head = format!("GET /metrics HTTP/1.1\r\nHost: proxy\r\nAccept: {accept}\r\n\r\n");
        parts(&port.ask(&head))
    };
    let (_, headers, open) = ask("application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    let content_type = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(headers.contains(&content_type.to_string()), "{headers:?}");
    assert!(open.ends_with("\n# EOF\n"), "{open}");
    let (_, _, classic) = ask("text/plain");
    // The same samples, but for those that move.
    let samples = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let moving = ["process_", "nuthatch_resident_bytes "];
        let still = lines.filter(|line| !moving.iter().any(|name| line.starts_with(name)));
        still.map(str::to_owned).collect()
    };
    assert_eq!(samples(&open), samples(&classic));
    assert!(samples(&open).len() > 50, "{open}");
}

#[test]
fn names_are_escaped_in_labels() {
    let port = Port::start_with((Ipv4Addr::LOCALHOST, 0).into(), "a\"b\\c\nd");
    let (_, _, text) = parts(&port.ask("GET /metrics HTTP/1.0\r\n\r\n"));
    let line = r#"nuthatch_pool_client_eof_total{pool="a\"b\\c\nd"} 0"#;
    assert!(text.lines().any(|other| other == line), "{text}");
}

#[test]
fn unknown_paths_are_not_found_and_told_what_there_is() {
    let port = Port::start();
    for path in ["/favicon.ico", "/stats/", "/Stats", "//", "*", "/%73tats"] {
        let reply = port.ask(&format!("OPTIONS {path} HTTP/1.1\r\nHost: proxy\r\n\r\n"));
        let (status, headers, body) = parts(&reply);
        assert_eq!(status, "HTTP/1.1 404 Not Found", "{path}");
        let text = "content-type: text/plain; charset=utf-8".to_string();
        assert!(headers.contains(&text), "{headers:?}");
        for known in ["/metrics", "/ready", "/topology"] {
            assert!(body.contains(&format!("\n  {known} ")), "{body}");
        }
    }
}

#[test]
fn other_methods_are_told_which_are_allowed() {
    let port = Port::start();
    let large = "x".repeat(300_000);
    for (method, body) in [("POST", ""), ("DELETE", ""), ("PUT", large.as_str())] {
        let length = body.len();
        let reply = port.ask(&format!(
            "{method} /stats HTTP/1.1\r\nHost: proxy\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        let (status, headers, _) = parts(&reply);
        assert_eq!(status, "HTTP/1.1 405 Method Not Allowed", "{method}");
        let allow = headers.iter().any(|header| header == "allow: get, head");
        assert!(allow, "{method}: {headers:?}");
    }
}

#[test]
fn the_readme_lists_every_path() {
    let port = Port::start();
    let (_, _, body) = parts(&port.ask("GET /nothing HTTP/1.0\r\n\r\n"));
    let told = body
        .lines()
        .filter_map(|line| line.trim_start().split(' ').next());
    let told: BTreeSet<&str> = told.filter(|word| word.starts_with('/')).collect();
    let readme = include_str!("../../README.md");
    let (_, chapter) = readme.split_once("\n## Operations\n").expect("a chapter");
    let (chapter, _) = chapter.split_once("\n## ").expect("another chapter");
    let rows = chapter.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split(" |").next());
    let words = cells.flat_map(|cell| cell.split(['`', ',', ' ']));
    let listed: BTreeSet<&str> = words.filter(|word| word.starts_with('/')).collect();
    assert!(told.contains("/metrics"), "{body}");
    assert_eq!(listed, told);
}
