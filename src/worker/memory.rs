//! Gives memory back to the system.

use std::rc::Rc;
use std::time::Duration;

use super::shared::Shared;

/// After a fall, and between two times: what comes in waves keeps its memory meanwhile.
const PAUSE: Duration = Duration::from_secs(3);

/// Gives back what became free, whenever that is much, and what the start needed; never ends.
pub(super) async fn give_back(shared: Rc<Shared>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        shared.front.borrow_mut().give_back();
        trim();
        shared.ebbed.notified().await;
    }
}

/// glibc returns by itself only what lies above everything in use. Takes about a millisecond for 4 MB.
#[cfg(target_env = "gnu")]
fn trim() {
    #[expect(unsafe_code, reason = "there is no safe way to ask for it")]
    // SAFETY: it may be called at any time and only touches what the allocator has free.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(target_env = "gnu"))]
fn trim() {}
