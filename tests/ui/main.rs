//! The page at `/ui` in a real browser, in front of real servers and of reports made for the test.
//!
//! Without a chromium the tests that need one pass and say that they were skipped. With
//! `NUTHATCH_SCREENSHOTS=FOLDER` they leave pictures of what they looked at.

mod browser;
mod failover;
mod live;
mod port;
mod reports;
mod scripted;
// This binary uses a part of it.
#[allow(dead_code, unused_imports)]
#[path = "../support/sentinel/mod.rs"]
mod sentinel;
mod shown;
#[path = "../support/mod.rs"]
mod support;
