//! The folder of the configuration file. Editors, and Kubernetes with its links, put another file in
//! the place of the old one; who watches the file itself would go on watching the old one.

use std::path::Path;
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Tells of changes in a folder.
pub struct Watch {
    changed: Arc<Notify>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Watches what is beside this file from now on. `None` if the system does not allow it.
    pub fn beside(path: &Path) -> Option<Self> {
        let changed = Arc::new(Notify::new());
        let told = Arc::clone(&changed);
        let tell = move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| is_change(event.kind)) {
                told.notify_one();
            }
        };
        let watching = notify::recommended_watcher(tell).and_then(|mut watcher| {
            watcher.watch(path.parent().unwrap_or(Path::new(".")), RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        match watching {
            Ok(watcher) => Some(Self { changed, _watcher: watcher }),
            Err(error) => {
                log::warn!("the folder of the configuration cannot be watched ({error}); it is looked at instead");
                None
            }
        }
    }

    /// Waits for the next change.
    pub async fn change(&self) {
        self.changed.notified().await;
    }
}

/// Reading is no change: the gateway's own would never end.
fn is_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}
