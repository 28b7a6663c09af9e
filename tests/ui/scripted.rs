//! A stats port with the page of the real one and with reports that a test writes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value as Json, json};

use crate::support::{Client, Pool, Proxy, free_port};

#[derive(Debug)]
struct Reports {
    stats: Json,
    topology: Json,
    /// Instead of 200.
    status: Option<u16>,
    asked: usize,
}

/// Serves until the test ends.
#[derive(Clone, Debug)]
pub struct Scripted {
    address: SocketAddr,
    reports: Arc<Mutex<Reports>>,
}

/// What the real port answers to `request`, to the end of the connection.
#[track_caller]
pub fn reply_of(proxy: &Proxy, request: &str) -> String {
    let mut client = Client::connect(proxy.stats_addr());
    client.send(request);
    String::from_utf8(client.read_to_end()).expect("text")
}

impl Scripted {
    pub fn start(stats: Json, topology: Json) -> Scripted {
        let nowhere = format!("127.0.0.1:{}:1", free_port());
        let proxy = Proxy::start(&[Pool::new("any").server(&nowhere)]);
        let page = reply_of(&proxy, "GET /ui HTTP/1.0\r\n\r\n");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let scripted = Scripted {
            address: listener.local_addr().expect("bound"),
            reports: Arc::new(Mutex::new(Reports {
                stats,
                topology,
                status: None,
                asked: 0,
            })),
        };
        let served = scripted.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (served, page) = (served.clone(), page.clone());
                thread::spawn(move || served.serve(stream, &page));
            }
        });
        scripted
    }

    pub fn url(&self) -> String {
        format!("http://{}/ui", self.address)
    }

    /// What is answered from now on.
    pub fn change(&self, change: impl FnOnce(&mut Json, &mut Json)) {
        let mut reports = self.reports.lock().expect("nobody panics with it");
        let Reports {
            stats, topology, ..
        } = &mut *reports;
        change(stats, topology);
    }

    pub fn set_status(&self, status: Option<u16>) {
        self.reports.lock().expect("nobody panics with it").status = status;
    }

    /// How often a report was asked for.
    pub fn asked(&self) -> usize {
        self.reports.lock().expect("nobody panics with it").asked
    }

    fn serve(&self, mut stream: TcpStream, page: &str) {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1..) => head.extend(byte),
                // A connection that the browser opened in case.
                _ => return,
            }
        }
        let path = head.split(|&byte| byte == b' ').nth(1);
        let mut reports = self.reports.lock().expect("nobody panics with it");
        let body = match path {
            Some(b"/stats") => reports.stats.to_string(),
            Some(b"/topology") => reports.topology.to_string(),
            _ => {
                drop(reports);
                let _ = stream.write_all(page.as_bytes());
                return;
            }
        };
        reports.asked += 1;
        let status = reports.status.unwrap_or(200);
        drop(reports);
        let length = body.len();
        let reply = format!(
            "HTTP/1.1 {status} As told\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        // It may have given up.
        let _ = stream.write_all(reply.as_bytes());
    }
}

/// A server at its address, as `/topology` tells of one without sentinels.
pub fn fixed(name: &str, address: &str) -> Json {
    json!({"name": name, "address": address, "endpoint": address, "ejected": false})
}

/// A server with three sentinels that agree, as `/topology` tells of it.
pub fn followed(name: &str, address: &str, now: u64) -> Json {
    let view = |sentinel: usize| {
        json!({"sentinel": format!("10.9.0.{sentinel}:26379"), "reachable": true, "address": address,
            "agrees": true, "epoch": 7, "down": false, "failover_in_progress": false})
    };
    json!({"name": name, "address": address, "endpoint": address, "ejected": false, "master": name,
        "since_ms": now - 7_500_000, "epoch": 7, "phase": "stable", "candidate": null,
        "hold_ends_in_ms": null, "held_requests": 0, "held_bytes": 0, "switches": 1,
        "views": [view(1), view(2), view(3)],
        "history": [{"from": null, "to": address, "epoch": 7, "via": "poll",
            "sentinel": "10.9.0.1:26379", "at_ms": now - 7_500_000, "announced_to_decided_ms": null,
            "decided_to_verified_ms": 3, "held_ms": 0}]})
}

/// The counters of a server.
pub fn server_stats(requests: u64) -> Json {
    json!({"server_eof": 0, "server_err": 0, "server_timedout": 0, "server_connections": 2,
        "server_ejected_at": 0, "requests": requests, "request_bytes": requests * 64,
        "responses": requests, "response_bytes": requests * 180, "in_queue": 0, "in_queue_bytes": 0,
        "out_queue": 3, "out_queue_bytes": 192, "held": 0, "held_bytes": 0})
}

/// The counters of a pool, without its servers.
pub fn pool_stats(requests: u64) -> Json {
    json!({"client_eof": 0, "client_err": 0, "client_connections": 12, "server_ejects": 0,
        "forward_error": 0, "fragments": 0, "server_returns": 0, "client_requests": requests,
        "client_refused": 0, "client_paused": 0, "output_limit_closed": 0, "protocol_errors": 0})
}

/// The head of `/stats` of a process that started an hour ago.
pub fn header(now: u64) -> Json {
    json!({"service": "nuthatch", "source": "proxy-1.example", "version": "9.8.7", "uptime": 3600,
        "timestamp": now / 1000, "total_connections": 40, "curr_connections": 20, "workers": 4,
        "topology_version": 3, "buffered_bytes": 3_145_728})
}
