//! A new process takes over from the one that runs, and what systemd has to do with starts and ends.

mod activation;
mod failing;
mod leaving;
mod load;
mod reload;
mod site;
#[path = "../support/mod.rs"]
mod support;
mod systemd;
