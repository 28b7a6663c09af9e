//! A headless Chromium with one tab, driven over the DevTools protocol.
//!
//! The protocol runs over two pipes (`--remote-debugging-pipe`), a JSON text and a NUL per message, so no
//! driver and no WebSocket is needed. Nothing but 127.0.0.1 can be reached from the tab.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::support::mortal;

/// Most that one step of a test takes: a browser starts in seconds, on a machine with nothing to spare in
/// many.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where screenshots go, if anywhere.
const SCREENSHOTS: &str = "NUTHATCH_SCREENSHOTS";

/// The pipes that the browser reads and writes the protocol on are its descriptors 3 and 4.
const WITH_PIPES: &str = "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >&2";

const FLAGS: &[&str] = &[
    "--headless",
    "--remote-debugging-pipe",
    // Root and containers have no other way; the only pages are ours.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--no-proxy-server",
    "about:blank",
];

/// How the tab looks at the page.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    pub width: u32,
    pub height: u32,
    pub dark: bool,
}

pub const DESKTOP: Screen = Screen {
    width: 1400,
    height: 900,
    dark: false,
};

pub const PHONE: Screen = Screen {
    width: 390,
    height: 844,
    dark: false,
};

/// Dropped: killed, with its children.
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Json>,
    /// What came besides the answers.
    events: Vec<Json>,
    calls: u64,
    /// Of the tab.
    session: Option<String>,
    dir: TempDir,
}

/// The browser's program; `None` if there is none.
pub fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join("chromium"))
        .find(|program| program.is_file())
}

impl Browser {
    /// With the page of this address in its tab, once that is loaded. `None` if no browser is installed.
    #[track_caller]
    pub fn open(url: &str, screen: Screen) -> Option<Browser> {
        let Some(program) = installed() else {
            println!("skipped: chromium is not installed");
            return None;
        };
        let mut browser = Browser::start(&program);
        let tab = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": tab["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.look(screen);
        browser.navigate(url);
        Some(browser)
    }

    /// A busy machine may need more than a tenth of a second to send its request on a connection, and is
    /// then taken for one of nutcracker's agents, so this tries again.
    #[track_caller]
    fn navigate(&mut self, url: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.call("Page.navigate", json!({"url": url}));
            self.wait("a page is loaded", "document.readyState === 'complete'");
            if self.eval("document.getElementById('pools') !== null") == true {
                return;
            }
            let text = self.text("document.body.innerText");
            assert!(Instant::now() < deadline, "no page at {url}: {text}");
        }
    }

    fn start(program: &Path) -> Browser {
        let dir = TempDir::new().expect("a temporary directory");
        let log = File::create(dir.path().join("log")).expect("the directory is ours");
        let mut child = mortal(Path::new("/bin/sh"))
            .args(["-c", WITH_PIPES])
            .arg(program)
            .arg(format!("--user-data-dir={}", dir.path().display()))
            .args(FLAGS)
            .env("HOME", dir.path())
            // It leaves folders there when it is killed.
            .env("TMPDIR", dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the browser starts");
        let commands = child.stdin.take().expect("piped");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, messages) = channel();
        thread::spawn(move || {
            let mut text = Vec::new();
            while output.read_until(0, &mut text).is_ok_and(|n| n > 0) {
                text.pop();
                let message = serde_json::from_slice(&text).expect("the protocol is JSON");
                if sender.send(message).is_err() {
                    return;
                }
                text.clear();
            }
        });
        Browser {
            child,
            commands,
            messages,
            events: Vec::new(),
            calls: 0,
            session: None,
            dir,
        }
    }

    /// One method of the protocol and its result.
    #[track_caller]
    pub fn call(&mut self, method: &str, params: Json) -> Json {
        self.calls += 1;
        let id = self.calls;
        let mut message = json!({"id": id, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut text = message.to_string();
        text.push('\0');
        let sent = self.commands.write_all(text.as_bytes());
        assert!(sent.is_ok(), "the browser is gone:\n{}", self.log());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut answer = match self.messages.recv_timeout(left) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => panic!("no answer to {method}:\n{}", self.log()),
                Err(_) => panic!("the browser ended at {method}:\n{}", self.log()),
            };
            if answer["id"] != id {
                self.events.push(answer);
                continue;
            }
            assert!(answer["error"].is_null(), "{method}: {answer}");
            return answer["result"].take();
        }
    }

    /// The value of an expression in the page.
    #[track_caller]
    pub fn eval(&mut self, expression: &str) -> Json {
        let params = json!({"expression": expression, "returnByValue": true});
        let mut result = self.call("Runtime.evaluate", params);
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {}",
            result["exceptionDetails"]
        );
        result["result"]["value"].take()
    }

    #[track_caller]
    pub fn text(&mut self, expression: &str) -> String {
        match self.eval(expression) {
            Json::String(text) => text,
            other => panic!("{expression} is no text: {other}"),
        }
    }

    /// Waits until the expression is true.
    #[track_caller]
    pub fn wait(&mut self, what: &str, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.eval(&format!("Boolean({expression})")) != true {
            if Instant::now() > deadline {
                let page = self.text("document.body?.innerText ?? ''");
                panic!(
                    "not within {PATIENCE:?}: {what}\n{page}\n{:?}",
                    self.complaints()
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    #[track_caller]
    pub fn look(&mut self, screen: Screen) {
        let Screen { width, height, .. } = screen;
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = if screen.dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    pub fn takes_pictures(&self) -> bool {
        std::env::var_os(SCREENSHOTS).is_some()
    }

    /// Keeps a picture of the whole page, if `NUTHATCH_SCREENSHOTS` says where.
    #[track_caller]
    pub fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os(SCREENSHOTS) else {
            return;
        };
        let params = json!({"captureBeyondViewport": true});
        let shot = self.call("Page.captureScreenshot", params);
        let data = shot["data"].as_str().expect("a picture");
        let bytes = BASE64_STANDARD.decode(data).expect("base64");
        fs::write(Path::new(&folder).join(format!("{name}.png")), bytes).expect(name);
    }

    /// Nothing sticks out of the screen, which a reader would have to scroll to.
    #[track_caller]
    pub fn assert_fits(&mut self) {
        let sizes = "[document.documentElement.scrollWidth, innerWidth]";
        let sizes = self.eval(sizes);
        assert!(sizes[0].as_u64() <= sizes[1].as_u64(), "{sizes}");
    }

    /// Exceptions, errors and warnings in the page's console; not those of the network, which tests cut.
    pub fn complaints(&mut self) -> Vec<String> {
        // So that everything that has happened is in the list.
        self.eval("0");
        let complaint = |event: &&Json| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => {
                ["error", "warning", "assert"].contains(&event["params"]["type"].as_str().unwrap())
            }
            Some("Log.entryAdded") => event["params"]["entry"]["source"] != "network",
            _ => false,
        };
        let complaints = self.events.iter().filter(complaint);
        complaints.map(Json::to_string).collect()
    }

    /// All addresses that were asked for.
    pub fn requested(&mut self) -> Vec<String> {
        self.eval("0");
        let requests = self.events.iter();
        requests
            .filter(|event| event["method"] == "Network.requestWillBeSent")
            .filter_map(|event| event["params"]["request"]["url"].as_str())
            .map(str::to_owned)
            .collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its children end when they notice.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
