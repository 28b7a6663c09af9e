//! Gives memory back to the system.

use std::rc::Rc;
use std::time::Duration;

use super::shared::Shared;
use crate::allocator;

/// After a fall, and between two times: what comes in waves keeps its memory meanwhile.
const PAUSE: Duration = Duration::from_secs(3);

/// Gives back what became free, whenever that is much, and what the start needed; never ends.
pub(super) async fn give_back(shared: Rc<Shared>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        shared.front.borrow_mut().give_back();
        allocator::trim();
        shared.ebbed.notified().await;
    }
}
