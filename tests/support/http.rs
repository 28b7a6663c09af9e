//! The statistics port over HTTP.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::{PATIENCE, Proxy};

/// An answer: status and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// `path` as a client of HTTP/1.0 gets it.
#[track_caller]
pub fn get(proxy: &Proxy, path: &str) -> Answer {
    let mut stream = TcpStream::connect(proxy.stats_addr()).expect("the stats port");
    let patience = Some(PATIENCE);
    stream.set_read_timeout(patience).expect("it is not zero");
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").expect("the stats port takes a request");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("an answer");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a body");
    let status = head.split(' ').nth(1).expect("a status");
    Answer {
        status: status.parse().expect("a number"),
        body: body.to_owned(),
    }
}

/// What a scrape gives: by sample with its labels as written, `name{pool="a"}`, its value.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub text: String,
    samples: BTreeMap<String, f64>,
}

impl Metrics {
    #[track_caller]
    pub fn of(proxy: &Proxy) -> Metrics {
        let text = get(proxy, "/metrics").body;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (sample, value) = line.rsplit_once(' ').expect("a sample and its value");
            (sample.to_owned(), value.parse().expect("a number"))
        });
        Metrics {
            samples: samples.collect(),
            text,
        }
    }

    /// A wrong name panics.
    #[track_caller]
    pub fn value(&self, sample: &str) -> f64 {
        *(self.samples.get(sample)).unwrap_or_else(|| panic!("no {sample} in {}", self.text))
    }

    /// The names of all samples, without labels.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let samples = self.samples.keys();
        samples.map(|sample| sample.split('{').next().expect("split gives one at least"))
    }
}
