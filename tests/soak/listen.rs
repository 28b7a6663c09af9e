//! Channels and scans within the mixed load.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::model::KEYS;
use crate::session::Worker;
use crate::support::{Client, Value, encode};
use crate::world::TAGS;

/// A subscription that was lost is there again by then, however often servers fail.
const HEARD: Duration = Duration::from_secs(20);
const MESSAGES: u64 = 20;

impl Worker<'_> {
    /// Listens on some channels while it publishes on them. Of each channel's messages none comes twice or
    /// out of order, and none is lost unless its server failed; whatever happens, later ones come again.
    pub(crate) fn listen(&mut self, mut listener: Client) -> Result<(), String> {
        let mut publisher = self.connect()?;
        let count = self.traffic.random.usize(1..4);
        let seq = self.traffic.next();
        let tags: Vec<usize> = (0..count)
            .map(|_| self.traffic.random.usize(..TAGS))
            .collect();
        let names: Vec<String> = tags
            .iter()
            .enumerate()
            .map(|(n, tag)| format!("{{t{tag}}}channel.{}.{seq}.{n}", self.id))
            .collect();
        let began = self.world.now();
        let mut request = vec!["SUBSCRIBE".to_owned()];
        request.extend(names.iter().cloned());
        listener.send(encode(&request));
        for (n, name) in names.iter().enumerate() {
            let confirmed = listener
                .try_read()
                .map_err(|e| format!("{e} to SUBSCRIBE"))?;
            if confirmed.is_error() && tags.iter().any(|tag| self.world.may_fail(*tag, began)) {
                return Ok(());
            }
            let expected = ["subscribe", name].map(Value::bulk);
            match elements(&confirmed) {
                Some([kind, channel, Value::Int(total)])
                    if [kind, channel] == [&expected[0], &expected[1]]
                        && usize::try_from(*total) == Ok(n + 1) => {}
                _ => return Err(format!("confirmation {n} of {names:?}: {confirmed:?}")),
            }
        }
        let mut heard = vec![None; count];
        for number in 0..MESSAGES {
            self.publish(&mut publisher, &names, &tags, number)?;
        }
        let deadline = Instant::now() + HEARD;
        let mut number = MESSAGES;
        let whole = |heard: &[Option<u64>]| heard.iter().all(|last| *last >= Some(MESSAGES));
        listener.set_timeout(Duration::from_millis(200));
        while !whole(&heard) {
            if Instant::now() > deadline {
                return Err(format!("{names:?} are silent, heard up to {heard:?}"));
            }
            self.publish(&mut publisher, &names, &tags, number)?;
            number += 1;
            while let Ok(message) = listener.try_read() {
                let n = self.hear(&message, &names, &mut heard, &tags, began)?;
                if heard[n] == Some(number - 1) {
                    break;
                }
            }
        }
        Ok(())
    }

    fn publish(
        &mut self,
        publisher: &mut Client,
        names: &[String],
        tags: &[usize],
        number: u64,
    ) -> Result<(), String> {
        for (name, tag) in names.iter().zip(tags) {
            let sent = self.world.now();
            publisher.send(encode(&["PUBLISH", name, &number.to_string()]));
            let reply = publisher
                .try_read()
                .map_err(|e| format!("{e} to PUBLISH"))?;
            match reply {
                Value::Int(1) => {}
                // Its subscription may be on its way to a server that was lost.
                Value::Int(0) | Value::Error(_) if self.world.may_fail(*tag, sent) => {}
                other => return Err(format!("PUBLISH {name}: {other:?}")),
            }
        }
        Ok(())
    }

    /// Which channel spoke.
    fn hear(
        &mut self,
        message: &Value,
        names: &[String],
        heard: &mut [Option<u64>],
        tags: &[usize],
        began: u64,
    ) -> Result<usize, String> {
        let wrong = |why: &str| format!("{why}: {message:?}, {names:?} heard up to {heard:?}");
        let Some([Value::Bulk(kind), Value::Bulk(channel), Value::Bulk(body)]) = elements(message)
        else {
            return Err(wrong("no message"));
        };
        let n = names.iter().position(|name| name.as_bytes() == channel);
        let (b"message", Some(n)) = (kind.as_slice(), n) else {
            return Err(wrong("a message for somebody else"));
        };
        let number: u64 = String::from_utf8_lossy(body)
            .parse()
            .map_err(|_| wrong("another's message"))?;
        let next = heard[n].map_or(0, |last| last + 1);
        if number < next {
            return Err(wrong("a message came twice or late"));
        }
        if number > next && !self.world.may_fail(tags[n], began) {
            return Err(wrong("a message is lost"));
        }
        heard[n] = Some(number);
        self.counts.messages += 1;
        Ok(n)
    }

    /// With all servers up: a scan finds every key that is there, and none of a key that is not.
    pub(crate) fn scan(&mut self, client: &mut Client) -> Result<(), String> {
        let pattern = format!("*c{}.g{}.k*", self.id, self.model.generation());
        let mut found = BTreeSet::new();
        let mut cursor = "0".to_owned();
        loop {
            client.send(encode(&["SCAN", &cursor, "MATCH", &pattern, "COUNT", "50"]));
            let reply = client.try_read().map_err(|e| format!("{e} to SCAN"))?;
            let Some([Value::Bulk(next), Value::Array(keys)]) = elements(&reply) else {
                return Err(format!("SCAN {cursor}: {reply:?}"));
            };
            found.extend(keys.iter().filter_map(|key| match key {
                Value::Bulk(name) => Some(name.clone()),
                _ => None,
            }));
            cursor = String::from_utf8_lossy(next).into_owned();
            if cursor == "0" {
                break;
            }
        }
        for key in 0..KEYS {
            let name = self.model.key_name(key);
            if let Some(there) = self.model.is_there(key)
                && found.contains(&name) != there
            {
                let name = String::from_utf8_lossy(&name);
                return Err(format!("SCAN {pattern}: {name} found: {}", !there));
            }
        }
        Ok(())
    }
}

fn elements(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) | Value::Push(items) => Some(items),
        _ => None,
    }
}
