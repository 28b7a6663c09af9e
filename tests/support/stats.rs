//! The proxy's counters, as its stats port shows them.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::{PATIENCE, Proxy};

/// One report. Counters are looked up by the name they have in it; a wrong name panics.
#[derive(Clone, Debug)]
pub struct Stats(Value);

impl Stats {
    #[track_caller]
    pub fn of(proxy: &Proxy) -> Stats {
        let mut stream = TcpStream::connect(proxy.stats_addr()).expect("the stats port");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("the limit is not zero");
        stream
            .write_all(b"GET / HTTP/1.0\r\n\r\n")
            .expect("the stats port takes a request");
        let mut reply = String::new();
        stream
            .read_to_string(&mut reply)
            .expect("the stats port answers");
        // On a busy machine our request may be late, and then there is no head before the same values.
        let body = match reply.strip_prefix("HTTP/") {
            Some(http) => http.split_once("\r\n\r\n").expect("a body").1,
            None => &reply,
        };
        Stats(serde_json::from_str(body).expect("JSON"))
    }

    /// A value of the process.
    #[track_caller]
    pub fn process(&self, name: &str) -> u64 {
        self.number(&[name])
    }

    #[track_caller]
    pub fn pool(&self, pool: &str, name: &str) -> u64 {
        self.number(&[pool, name])
    }

    #[track_caller]
    pub fn server(&self, pool: &str, server: &str, name: &str) -> u64 {
        self.number(&[pool, server, name])
    }

    #[track_caller]
    fn number(&self, path: &[&str]) -> u64 {
        let found = path.iter().fold(&self.0, |value, name| &value[name]);
        found
            .as_u64()
            .unwrap_or_else(|| panic!("no number {path:?} in {}", self.0))
    }
}
