//! What systemd is told about this process (`sd_notify(3)`, for a unit with `Type=notify`), and the
//! heartbeat of its watchdog. Without systemd, that is without `NOTIFY_SOCKET`, nothing happens.

use std::io;

use sd_notify::NotifyState;

/// Everything serves: the end of the start, or of a reload. `status` is what `systemctl status` shows.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => log(&error),
    }
}

/// The end begins. From here systemd waits `TimeoutStopSec=` for it.
pub fn stopping(status: &str) {
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Tells systemd's watchdog, if the unit has `WatchdogSec=`, twice in each period that the thread which
/// runs this is not stuck. Otherwise returns at once.
pub async fn feed_watchdog() {
    let Some(period) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut heartbeat = tokio::time::interval(period / 2);
    heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        heartbeat.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        log(&error);
    }
}

fn log(error: &io::Error) {
    tracing::warn!("telling systemd failed: {error}");
}
